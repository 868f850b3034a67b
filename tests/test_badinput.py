"""A user's mistake: one clear message with the key and the remedy, exit code 2, no traceback, nothing finished lost."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small import DECODER, SMALL

from splitpriv import config, store
from splitpriv.commands import cli
from splitpriv.run.prepare import check, prepare
from splitpriv.store import Store

BASE = (*SMALL, *DECODER)
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; its messages."""

    def attempt(*arguments: str, command: str = "run") -> str:
        assert cli.main([command, *arguments]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert all(line.startswith("splitpriv: ") for line in said.err.splitlines())
        assert said.err
        return said.err

    return attempt


# ---- config --------------------------------------------------------------------------------------------------------

MISTAKES = [
    (("optim.epoch=3",), "optim.epoch: no such key", "optim.epochs"),
    (("defence=[noise]",), "defence: no such key", "defense"),
    (("+foo=1",), "foo: no such key", "seed"),
    (("+optim.foo=1",), "optim.foo: Recipe has no such setting", "epochs"),
    (("defense=[noize]",), "defense: no option 'noize'", "noise"),
    (("backbone=tinny",), "backbone: no option 'tinny'", "tiny"),
    (("defense.noise.sigma=1",), "defense.noise.sigma: the chain has no noise", "defense=[noise]"),
    (("optim.epochs=${optim}",), "optim.epochs: ${optim} points to what it is part of", "value"),
    (("protocol.slices={}",), "protocol.slices: {} changes nothing", "~protocol.slices"),
    (("paths.outputs=",), "paths.outputs: is empty", "folder"),
    (("plugins=['~nobody-of-that-name/x']",), "plugins: ~nobody-of-that-name/x cannot be read", "correct it"),
    (("backbone.weights='~nobody-of-that-name/x'",), "backbone.weights: ~nobody-of-that-name/x cannot", "correct it"),
    (("defense=[noise,noise]",), "defense: noise is listed twice", "once"),
    (("defense=[patrol,adversarial]",), "defense: patrol and adversarial both bring adversarial", "one of them"),
    (("defense=[../attack/decoder]",), "defense: [../attack/decoder] is a path", "conf/defense/"),
    (("attack=[decoder]", "defense=[../attack/decoder]"), "defense: [../attack/decoder] is a path", "conf/defense/"),
    (("+setting=../setting/demo",), "setting: ../setting/demo is a path", "conf/setting/"),
    (("protocol.queries=16", "attack=[decoder]"), "protocol.queries: is heeded by suites alone", "decoder_avg"),
    (("attack.autoinvert_quick.queries=16",), "attack.autoinvert_quick.queries: is 16", "protocol.queries"),
    (("protocol.limit.aux=19",), "protocol.limit.aux: 19 images are too few", "at least 20"),
    (("attack=[decoder]", "protocol.limit.aux=1"), "protocol.limit.aux: 1 images are too few", "at least 2"),
    (("attack=[gan_decoder]", "protocol.limit.aux=1"), "1 images are too few for gan_decoder", "at least 2"),
    (("attack=[latent]", "protocol.limit.aux=1"), "1 images are too few for latent", "at least 2"),
    (("dataset=identities", "attack=[reid]", "protocol.limit.aux=8"), "8 images are too few for reid", "at least 9"),
    (("dataset=identities", "attack=[reid]", "attack.reid.batch=7"), "attack.reid.batch: 7 images", "at least 8"),
    (("attack=[probe_cnn]", "attack.probe_cnn.batch=2", "split.at=0", "dataset=gaussian", "dataset.size=2"),
     "attack.probe_cnn.batch: leaves a batch of one image", "give 3 or more"),
    (("attack=[decoder,probe]", "attack.probe.attribute=tint", "knowledge=none"),
     "attack.probe: learns from labels of the adversary's images, which mean nothing here", "another knowledge"),
    (("dataset=identities", "attack=[decoder,reid]", "knowledge=other_set", "dataset@knowledge.source=gaussian"),
     "attack.reid: learns from labels", "leave it out"),
    (("attack=[decoder,probe]", "attack.probe.attribute=tint", "attack.probe.hidden=[1000000000]"),
     "attack.probe.hidden: makes", "lower it"),
    (("measure=judged", "measure.judge.width=1000000"), "measure.judge.width: makes", "lower it"),
    (("knowledge=shifted", "knowledge.blur=1e5"), "knowledge.blur: a deviation of 100000 pixels", "at most 32"),
    (("optim=[sgd,adam]",), "optim: takes one option", "optim=NAME"),
    (("seed=0,1",), "seed: 0,1 are several values", "add -m"),
    (("seed=[0,1]",), "seed: ", "seed=0,1, with -m"),
    (("defense=[none],[noise]",), "defense: [none],[noise] are several values", "splitpriv run -m"),
    (("defense=cem,noise",), "defense: cem,noise are several values", "'defense=[cem,noise]'"),
    (("optim.clip=None",), "optim.clip: ", "optim.clip=null"),
    (('optim.optimizer.lr="1e-3"',), "optim.optimizer.lr: ", "without quotes: optim.optimizer.lr=1e-3"),
    (("hydra/launcher=joblib",), "hydra/launcher: is for sweeps", "-m"),
    (("objective=utility/acuracy",), "objective: no row of this run has 'utility/acuracy'", "utility/accuracy"),
    (("objective=privacy/rmle/mse",), "objective: no row", "privacy/autoinvert_quick"),
    (("+defense.noise.sigma=1",), "defense.noise: noise is not listed", "defense=[noise]"),
    (("optim.epochs=many",), "optim.epochs: ", "integer"),
    (("optim.epochs=2.5",), "optim.epochs: ", "2.5"),
    (("dataset.flip=3",), "dataset.flip: ", "bool"),
    (("optim.optimizer.lr=fast",), "optim.optimizer.lr: ", "number"),
    (("optim.optimizer.lr=-1",), "optim.optimizer.lr: ", "learning rate"),
    (("optim.optimizer.lr=true",), "optim.optimizer.lr: input should be a valid number, got True", "number"),
    (("optim.optimizer.lr=null",), "optim.optimizer.lr: input should be a valid number, got None", "number"),
    (("optim.optimizer.lr=[0.1]",), "optim.optimizer.lr: ", "a sweep reads optim.optimizer.lr=0.1, with -m"),
    (("optim=adam", "+optim.optimizer.betas=[true,0.9]"), "optim.optimizer.betas: ", "valid number"),
    (("optim=cem", "optim.schedule.milestones=[60.5]"), "optim.schedule.milestones: ", "valid integer"),
    (("optim.schedule.T_max=true",), "optim.schedule.T_max: input should be a valid integer, got True", "integer"),
    (("optim.schedule.T_max=x",), "optim.schedule.T_max: ", "integer"),
    (("seed=abc",), "seed: ", "whole number"),
    (("attack_seed=-1",), "attack_seed: ", "whole number"),
    (("~seed",), "seed: ", "missing"),
    (("~optim.batch",), "optim.batch: is missing", "Recipe"),
    (("defense=[noise]", "defense.noise.sigma=-0.1"), "defense.noise.sigma: ", "greater than or equal to 0, got -0.1"),
    (("split.at=9",), "split.at: 9 is outside 0..", "conv1"),
    (("split.at=conv9",), "split.at: there is no stage 'conv9'", "conv1"),
    (("split.bottleneck=5",), "split.bottleneck: ", "null"),
    (("+split.foo=5",), "split.foo: ", "bottleneck"),
    (("dataset=null",), "dataset: ", "gaussian"),
    (("attack=[]",), "attack: is empty", "attack=[decoder]"),
    (("seed",), "seed: an override reads key=value", "seed"),
    (("runtime.device=tpu",), "runtime.device: ", "cpu"),
    (("paths.outputs=null",), "paths.outputs: ", "folder"),
    (("defense=[cem]",), "defense.cem: CEM needs noise", "defense=[cem,noise]"),
    (("defense=[noise]", "defense.noise._target_=os.system"),
     "defense.noise._target_: 'os.system' is refused", "splitpriv."),
    (("defense=[noise]", "defense.noise._target_=splitpriv.nothing.X"),
     "defense.noise._target_: cannot import", "path"),
    (("protocol.slices.aux=[train,0,1]",), "protocol.slices: train and aux share images", "overlap"),
    (("dataset.path=/my data, (2) [1] = é",), "dataset.path: Hydra", "\"dataset.path='/my data, (2) [1] = é'\""),
    (("dataset=images",), "dataset.path: has no value", "dataset.path="),
]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "key", "remedy"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_a_mistake_in_the_config_names_the_key(
    overrides: tuple[str, ...], key: str, remedy: str, refused: Refused
) -> None:
    message = refused(*overrides)
    assert key in message
    assert remedy in message
    assert not Path(os.environ["SPLITPRIV_OUTPUTS"]).exists()  # refused before anything was begun


FEW = [
    ((*BASE, "measure=audit", "protocol.limit.victims=5"), "measure.audit.k: 5 victims are too few"),
    ((*BASE, "knowledge.size=1"), "knowledge.size: 1 images are too few for decoder"),
    (("dataset=identities", "attack=[reid]", "protocol.attacked=1"), "protocol.attacked: no victim has another image"),
    (("dataset=identities", "attack=[decoder]", "backbone=tiny_reid", "task=reid", "protocol.limit.victims=1"),
     "protocol.limit.victims: no query has its identity"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), FEW, ids=lambda v: " ".join(v) if isinstance(v, tuple) else "")
def test_too_few_images_are_told_before_anything_is_trained(
    words: tuple[str, ...], said: str, refused: Refused
) -> None:
    assert said in refused(*words)
    assert not (Path(os.environ["SPLITPRIV_OUTPUTS"]) / "fit").exists()


def test_a_wrong_key_is_told_once(refused: Refused) -> None:
    attempts = [
        ("dataset=images", "dataset.path=/a (b)"), ("defense=[noize]", "defense.noize.sigma=1"),
        ("optim.optimizer.lr=-1",), ("optim.schedule.T_max=0",), ("optim.optimizer.momentum=nan",),
    ]  # fmt: skip
    for words in attempts:
        assert len(refused(*words, command="check").splitlines()) == 1


def test_dashes_are_told(refused: Refused) -> None:
    assert "write seed=1 " in refused("--seed=1")


def test_of_a_key_given_twice_the_last_counts_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "seed=3", "dataset=mnist", "seed=4", "dataset=gaussian"]) == 0
    said = capsys.readouterr()
    twice, key = said.err, said.out
    assert "seed: is given more than once; the last counts, seed=4" in twice and "dataset=gaussian" in twice
    assert cli.main(["check", "seed=4", "dataset=gaussian"]) == 0
    assert capsys.readouterr() == (key, "")


def test_a_setting_s_values_go_with_the_attack_that_is_replaced() -> None:
    words = ["+setting=patrol_cifar10_short", "attack=[rmle]"]  # though the setting chooses a net for decoder
    cfg = config.compose(words)
    assert list(cfg["attack"]) == ["rmle"] and cfg["attack"]["rmle"]["steps"] == 150
    assert check(cfg) == []
    assert config.for_hydra(words)[1] == "attack=[rmle,decoder]"
    assert list(config.compose([words[0], "attack=[decoder]"])["attack"]) == ["decoder"]


def test_an_attribute_that_the_data_set_lacks(refused: Refused) -> None:
    message = refused("dataset=fairface", "dataset.task=height", "dataset.attributes=[hair]", command="check")
    assert "dataset.task: " in message
    assert "height" in message
    assert "dataset.attributes" in message


@pytest.mark.parametrize("words", [
    ("dataset=gaussian", "dataset.samples=1000000000000"), ("dataset=library", "dataset.samples=1000000000000000"),
])  # fmt: skip
def test_data_beyond_memory_name_their_largest_setting(refused: Refused, words: tuple[str, ...]) -> None:
    message = refused("attack=[decoder]", *words)
    assert message == "splitpriv: dataset.samples: makes more than this machine's memory holds; lower it\n"


def test_all_problems_at_once(refused: Refused) -> None:
    message = refused(
        "defense=[noise]", "defense.noise.sigma=-1", "optim.epochs=0", "attack=[decoder]", "attack.decoder.lr=0",
        "measure.draws=x",
        "backbone.width=0", "seed=x", "runtime.threads=0", "optim.optimiser.lr=1", "dataset.foo=1",
    )  # fmt: skip
    assert [line.split(": ")[1] for line in message.splitlines()][:2] == ["optim.optimiser.lr", "dataset.foo"]
    for key in ("defense.noise.sigma", "optim.epochs", "attack.decoder.lr", "measure.draws", "backbone.width", "seed",
                "runtime.threads"):  # fmt: skip
        assert f"splitpriv: {key}: " in message


def test_problems_of_two_parts_at_once(refused: Refused) -> None:
    message = refused("split.at=9", "attack=[decoder]", "attack.decoder.held=0", "optim.optimizer.lr=-1")
    assert all(key in message for key in ("split.at: ", "attack.decoder.held: ", "optim.optimizer.lr: "))


# ---- data ----------------------------------------------------------------------------------------------------------

LABEL_AND_PIXELS = 3073


def cifar(root: Path, size: int = LABEL_AND_PIXELS * 10_000) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", "batches.meta.txt"]:
        with (folder / name).open("wb") as file:
            file.truncate(size if name.endswith(".bin") else 61)
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLITPRIV_DATA", str(tmp_path / "own"))
    return tmp_path / "own"


CIFAR = tuple(o for o in BASE if not o.startswith("dataset"))


def test_missing_data(data: Path, refused: Refused) -> None:
    message = refused("dataset=cifar10", *CIFAR)
    assert "paths.data: " in message
    assert "missing" in message
    assert "fetch cifar10" in message or "SPLITPRIV_DATA" in message
    assert "paths.data: " in refused("verify", "cifar10", command="data")


def test_truncated_data(data: Path, refused: Refused) -> None:
    cifar(data, size=1000)
    message = refused("dataset=cifar10", *CIFAR)
    assert "is truncated (1,000 of 30,730,000 bytes)" in message
    assert "delete it" in message


def test_data_with_a_wrong_checksum(data: Path, refused: Refused) -> None:
    cifar(data)
    assert "wrong checksum" in refused("verify", "cifar10", command="data")


def test_an_unreadable_image_in_a_folder(tmp_path: Path, refused: Refused) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (9, 8), (20 * i, 0, 0)).save(tmp_path / "mine" / kind / f"{i}.png")
    (tmp_path / "mine" / "dog" / "3.png").write_bytes(b"not a picture")
    overrides = [o for o in BASE if not o.startswith("dataset")]
    message = refused("dataset=images", f"dataset.path={tmp_path / 'mine'}", "dataset.size=8", *overrides)
    assert "dog/3.png" in message
    assert "dataset" in message


# ---- disk ----------------------------------------------------------------------------------------------------------


def test_outputs_below_a_file(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("x")
    message = refused(*BASE, f"paths.outputs={tmp_path / 'file' / 'outputs'}")
    assert message.startswith("splitpriv: paths.outputs: ")
    assert "SPLITPRIV_OUTPUTS" in message


def _dead_link(at: Path) -> Path:
    at.symlink_to(at.with_name("nowhere"))
    return at


def _circle(at: Path) -> Path:
    at.symlink_to(at)
    return at


def _rows_a_file(at: Path) -> Path:
    at.mkdir()
    (at / "rows").write_text("x")
    return at


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_dead_link, "there is something that is no folder"),
        (_circle, "Too many levels of symbolic links"),
        (lambda at: at.with_name("n" * 256), "File name too long"),
        (_rows_a_file, "there is something that is no folder"),
    ],
)
def test_outputs_that_can_be_no_folder(
    tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], why: str
) -> None:
    monkeypatch.setattr("splitpriv.run.context.train_phase", None)  # not called
    place = make(tmp_path / "outputs")
    message = refused(*BASE, f"paths.outputs={place}")
    assert f"splitpriv: paths.outputs: {why} ({place}" in message


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_outputs_on_a_mount_that_fails(refused: Refused, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), "/mount/x")

    monkeypatch.setattr("splitpriv.store.folder.write_atomic", fail)
    assert f"paths.outputs: {os.strerror(code)} (/mount/x); mend that place" in refused(*BASE)


def test_outputs_that_may_not_be_written(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/outputs")

    monkeypatch.setattr(Path, "mkdir", deny)
    message = refused(*BASE)
    assert message.startswith("splitpriv: paths.outputs: Read-only file system (/outputs)")


def test_a_disk_that_fills_up_keeps_what_is_finished(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    real = store.write_atomic

    def full(path: Path, content: bytes | str) -> None:
        if "attack" in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    with monkeypatch.context() as patch:
        for module in ("run.stages", "run.train", "store.state", "store.folder"):  # the first imports the rest
            patch.setattr(f"splitpriv.{module}.write_atomic", full)
        message = refused(*BASE)
    assert "paths.outputs: No space left on device" in message
    assert "free some space" in message
    outputs = Path(os.environ["SPLITPRIV_OUTPUTS"])
    done = {p.parent.parent.name for p in outputs.glob("*/*/done")}
    assert done == {"fit", "measure"}
    monkeypatch.setattr("splitpriv.run.context.train_phase", None)  # not called again
    assert cli.main(["run", *BASE]) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(disk: Path, refused: Refused) -> None:
    message = refused(*BASE, "backbone.width=64", f"paths.outputs={disk}")
    assert "paths.outputs: No space left on device" in message
    assert not list(disk.glob("fit/*/done"))


# ---- training ------------------------------------------------------------------------------------------------------


def test_nan_in_training(refused: Refused) -> None:
    message = refused(*BASE, "optim.optimizer.weight_decay=1e9")
    assert message.startswith("splitpriv: optim.optimizer.lr: ")
    assert "lower" in message
    assert Store(os.environ["SPLITPRIV_OUTPUTS"]).rows() == []


def test_a_malicious_checkpoint_is_not_run(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    cfg = config.compose(list(BASE))
    home = Store(cfg["paths"]["outputs"]).home("fit", prepare(cfg).plan.fits[0])
    home.mkdir(parents=True)
    import torch

    torch.save({"epoch": 1, "parts": Evil(), "notes": None}, home / "last.pt")
    message = refused(*BASE)
    assert f"paths.outputs: {home / 'last.pt'}" in message
    assert "holds code, which is never run; delete it" in message
    (home / "last.pt").write_bytes(pickle.dumps(Evil()))  # nothing that torch saved: damaged, and begun again
    assert cli.main(["run", *BASE]) == 0
    assert not (tmp_path / "owned").exists()
