"""A signal ends a run within a step, with its exit code, and the same command ends in the same row."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small import DECODER, NOISE, SMALL, numbers

from splitpriv import stop
from splitpriv.attacks import decoder
from splitpriv.commands import cli
from splitpriv.launch import streams
from splitpriv.report import terminal
from splitpriv.run import fit
from splitpriv.store import Store

BASE = (*SMALL, *DECODER, *NOISE)


@pytest.fixture(autouse=True)
def foreground() -> Iterator[None]:
    """A test run in the background ignores Ctrl-C, and its children would."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_each_signal_raises_at_once_and_only_within_the_block(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("whoever started the tests ignores it, as nohup does")
    with pytest.raises(stop.Stopped) as asked, stop.signals():
        signal.raise_signal(number)
    assert (asked.value.name, asked.value.code) == (name, 128 + number)
    assert signal.getsignal(number) == before


def test_what_the_caller_ignores_or_handles_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR1, lambda s, _: seen.append(s))
    try:
        with stop.signals():
            signal.raise_signal(signal.SIGHUP)  # nohup
            signal.raise_signal(signal.SIGUSR1)  # submitit
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGUSR1, before[1])
    assert seen == [signal.SIGUSR1]


def test_a_request_that_arrives_twice_is_one() -> None:
    def twice() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # `timeout` sends it to the process, and to its group

    with pytest.raises(stop.Stopped), stop.signals():
        twice()


def test_an_error_that_an_extension_puts_in_the_place_of_a_signal_is_that_signal() -> None:
    def compiled() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except stop.Stopped as error:
            raise ValueError("could not determine the shape") from error

    with pytest.raises(stop.Stopped), stop.signals():
        compiled()
    with pytest.raises(ValueError, match="its own"), stop.signals():
        raise ValueError("its own")


def test_a_request_whose_exception_was_lost_is_found_at_the_next_step() -> None:
    went_on = []

    def lost() -> None:
        with suppress(stop.Stopped):
            signal.raise_signal(signal.SIGTERM)
        stop.check()
        went_on.append(1)

    with pytest.raises(stop.Stopped), stop.signals():
        lost()
    assert not went_on


@pytest.mark.parametrize(
    ("where", "name"), [((fit.SplitFit, "augmented"), "SIGTERM"), ((decoder.Decoder, "pair"), "SIGINT")]
)
@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_a_stopped_run_ends_in_the_row_of_a_whole_one(
    where: tuple[type, str], name: str, sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    real, calls, number = getattr(*where), [], signal.Signals[name]

    def asked(self: object, *args: object) -> object:
        calls.append(1)
        if len(calls) == 7:  # in the second of two epochs
            os.kill(os.getpid(), number)
        return real(self, *args)

    command = ["run", *sweep, *BASE, f"paths.outputs={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(*where, asked)
        assert cli.main(command) == 128 + number
    assert len(calls) == 7
    said = capsys.readouterr().err
    assert said.count(f"splitpriv: stopped by {name}; this continues where it stopped: splitpriv run ") == 1
    assert "Traceback" not in said
    assert not list(tmp_path.glob("rows/*.json"))
    assert not list(tmp_path.glob("*/*/failed"))
    assert list(tmp_path.glob("*/*/last.pt"))
    assert cli.main(command) == 0
    if not sweep:
        whole = tmp_path / "whole"
        assert cli.main([*command[:-1], f"paths.outputs={whole}"]) == 0
        assert numbers(Store(tmp_path).rows()[0]) == numbers(Store(whole).rows()[0])


def test_what_cannot_be_printed_is_lost_neither_in_the_store_nor_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")

    monkeypatch.setattr(streams, "broken", lambda error: True)
    monkeypatch.setattr(terminal, "print_row", full)
    assert cli.main(["run", "-m", *BASE, "seed=0,1", f"paths.outputs={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "standard output: No space left on device" in said
    assert "paths.outputs" not in said
    assert len(list(tmp_path.glob("rows/*.json"))) == 2


def test_a_full_standard_output_is_told_from_a_full_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as file, monkeypatch.context() as patch:  # noqa: PTH123
        patch.setattr("sys.stdout", file)
        file.write("a row")
        assert streams.broken(OSError(28, "No space left on device"))
        assert not streams.broken(OSError(28, "No space left on device", "outputs/fit/weights.pt"))
        patch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    assert not streams.broken(OSError(28, "No space left on device"))
    assert streams.broken(BrokenPipeError())
