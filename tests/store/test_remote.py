"""A store at an address: what one machine has finished, another finds; each has a cache of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small import execute, numbers, tiny

from splitpriv import config
from splitpriv.run import pipeline
from splitpriv.store import Store
from splitpriv.types import UserError

pytest.importorskip("fsspec")


def test_another_machine_finds_the_row_and_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_machines("memory://bucket/runs", tmp_path, monkeypatch)


def three_machines(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLITPRIV_CACHE", str(tmp_path / "one"))
    row = execute(tiny(), Store(address))
    monkeypatch.setenv("SPLITPRIV_CACHE", str(tmp_path / "two"))
    other = Store(address)
    assert other.root != tmp_path and [numbers(r) for r in other.rows()] == [numbers(row)]
    assert other.state("fit", row["fit"][0]) == "missing"
    monkeypatch.setattr("splitpriv.run.context.train_phase", None)  # another attack on the same target trains nothing
    again = execute(tiny("attack.decoder.epochs=1"), other)
    assert again["key"] != row["key"] and again["fit"] == row["fit"]
    assert other.state("fit", row["fit"][0]) == "cached" and len(Store(address).rows()) == 2
    monkeypatch.setenv("SPLITPRIV_CACHE", str(tmp_path / "three"))
    monkeypatch.setattr(pipeline, "Run", None)
    assert execute(tiny(), Store(address))["key"] == row["key"]


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPLITPRIV_CACHE", str(tmp_path))
    for address in ("nosuch://bucket", "http://127.0.0.1:9/runs/"):
        with pytest.raises(UserError, match=f"^paths.outputs: {address.rstrip('/')}: .*is the address right"):
            Store(address).memo("measure", "k", lambda home: None)  # the first, before anything is trained
    assert config.compose(["paths.outputs=s3://b/runs/"])["paths"]["outputs"] == "s3://b/runs"


@pytest.mark.slow
def test_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same against a server that speaks S3."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    s3fs = pytest.importorskip("s3fs")
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem().mkdir("bucket")
        three_machines("s3://bucket/runs", tmp_path, monkeypatch)
        with pytest.raises(UserError, match=r"^paths\.outputs: s3://"):
            Store("s3://no-such-bucket-here/runs").rows() or Store("s3://no-such-bucket-here/runs").add_row(
                {"key": "a"}
            )
    finally:
        server.stop()
    assert os.environ["AWS_ENDPOINT_URL"] == url
