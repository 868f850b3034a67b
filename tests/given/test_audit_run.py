"""An audit from end to end: the same measures, floors, flags, row and store as a run's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import DECODER
from test_sides import drawn, folder, saved, sent
from torch import nn

import splitpriv
from splitpriv.attacks.suite import members
from splitpriv.commands.cli import main
from splitpriv.given import stages
from splitpriv.given.audit import ASKED, Question, prepare
from splitpriv.given.context import Pairs
from splitpriv.report.select import Selection
from splitpriv.store import Store

WORDS = ["attack=[decoder]", *DECODER, "attack.decoder.epochs=12"]


class Edge(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 2)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> splitpriv.Run:
    at = tmp_path_factory.mktemp("audit")
    return splitpriv.audit(Edge(), drawn(120), drawn(30, 7), overrides=WORDS, outputs=at)


def test_any_module_is_audited_in_three_lines(audited):
    row = audited.row
    assert (row["study"], row["knowledge"], row["chain"], row["victims"]) == ("audit", "white", "Edge", 30)
    assert row["privacy/decoder/mse"] < row["floor/mean_image/mse"]
    assert row["cost/release_bytes"] == 192 and row["release/zero_gradient"] == 0
    assert row["verdict"] == "void" and any("only 30 victims" in f["text"] for f in row["flags"])
    assert {flag["remedy"].partition(".")[0].partition("=")[0] for flag in row["flags"]} <= {"", *ASKED}
    told = audited.summary()
    assert "the adversary knows the edge" in told and "The release gives away" in told
    assert audited.reconstructions["decoder"].shape == audited.victims.shape
    assert audited.grid().size > (100, 100) and "<img" in audited._repr_html_()
    again = splitpriv.audit(Edge(), drawn(120), drawn(30, 7), overrides=WORDS, outputs=audited.store.root)
    assert again.key == audited.key, "the key is made of contents"
    other = splitpriv.load(audited.key, outputs=audited.store.root)
    with pytest.raises(splitpriv.UserError, match="is a study, audit"):
        _ = other.model


def test_its_row_is_read_like_any_other(audited, capsys):
    assert main(["rows", f"paths.outputs={audited.store.root}", "--where", "study=audit"]) == 0
    assert audited.key in capsys.readouterr().out
    assert Selection(audited.store).rows()[0]["verdict"] == "void"


def test_recorded_releases_need_no_device(tmp_path, capsys):
    x = drawn(120)
    pairs = saved(tmp_path / "sent.npz", releases=sent(x), images=x)
    place = f"paths.outputs={tmp_path / 'out'}"
    assert main(["audit", "--releases", str(pairs), place, *WORDS]) == 0
    told = capsys.readouterr().out
    assert "the adversary has pairs that were recorded, and no edge" in told and "pictures: " in told
    row = Store(tmp_path / "out").rows()[0]
    assert (row["knowledge"], row["victims"], row["backbone"]) == ("recorded", 30, "recorded")
    assert row["privacy/decoder/mse"] < row["floor/mean_image/mse"]


def test_recorded_releases_cost_what_they_were_recorded_in(tmp_path):
    x = drawn(64)
    z = (sent(x) * 255).round()
    kinds = (np.uint8, np.float32, np.float64)
    files = [saved(tmp_path / f"{kind.__name__}.npz", releases=z.numpy().astype(kind), images=x) for kind in kinds]
    runs = [prepare(Question(releases=file)) for file in files]
    assert [stages._cost(run)["release_bytes"] for run in runs] == [48, 192, 384]
    assert len({run.plan.row for run in runs}) == 3


def test_size_and_channels_are_of_recorded_images_too(tmp_path):
    pairs = saved(tmp_path / "p.npz", releases=sent(drawn(64)), images=drawn(64))
    assert prepare(Question(releases=pairs, size=4, channels=1)).victims.images.shape[1:] == (1, 4, 4)
    (tmp_path / "grey.py").write_text("import torch\ndef edge(): return torch.nn.Conv2d(1, 4, 3)\n")
    question = Question(edge=f"{tmp_path}/grey.py:edge", data=drawn(64), channels=1)
    assert prepare(question).victims.images.shape[1:] == (1, 8, 8)


def test_what_is_attacked_by_default_may_hold_what_a_white_box_gives(tmp_path):
    run = prepare(Question(edge=Edge(), data=drawn(64)))
    [attack] = run.parts.attacks.values()
    access = run.access(attack)
    assert attack.knowledge == "white" and access.gap is access.present is None
    assert all(hasattr(access, right) for right in attack.requires)


def test_releases_of_unknown_pictures_are_rebuilt_and_measured_on_others(tmp_path):
    bare = saved(tmp_path / "bare.npz", releases=sent(drawn(9, 5)))
    found = splitpriv.audit(Edge(), drawn(120), releases=bare, overrides=WORDS, outputs=tmp_path / "out")
    assert found.row["sent"] == 9 and (tmp_path / "out" / found.row["sent/decoder"]).is_file()
    assert "expected" in {flag["kind"] for flag in found.row["flags"]}
    assert "pictures that were set apart" in found.summary(), "these are nobody's"
    rebuilt = found.reconstructions["decoder/sent"]
    error = (rebuilt - drawn(9, 5).float() / 255).square().mean()
    assert error < 2 * found.row["privacy/decoder/mse"], "they are rebuilt in their order"


def test_the_suite_asks_a_recording_for_nothing_else(tmp_path):
    """Of images that are moved nobody knows the release."""
    x = drawn(64)
    question = Question(releases=saved(tmp_path / "p.npz", releases=sent(x), images=x))
    run = prepare(question)
    [attack] = run.parts.attacks.values()
    assert attack.knowledge == "black", "no gradient, no white box"
    access = run.access(attack)
    assert access.recorded and isinstance(run.query, Pairs)
    lab = members.Lab(access, 1, tmp_path / "home")
    batch = members.batch_of(lab, 16, "learn")
    assert torch.equal(lab.release(batch), sent(batch * 255))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "names nothing to attack"),
        (["--edge", "EDGE", "split.at=1"], "split.at: has no meaning in an audit"),
        (["--edge", "EDGE", "attack=[probe]"], "attack.probe: is no attack on images"),
        (
            ["--edge", "EDGE", "attack=[substitute_rmle]"],
            "needs cloud, and the device comes without a cloud; use decoder",
        ),
        (["--edge", "EDGE", "--size", "a"], "--size: 'a' is no number"),
        (["--edge", "EDGE", "--size", "0"], "--size: is not above 0"),
        (["--edge", "EDGE", "--std", "0"], "--std: is not above 0"),
        (["--edge", "EDGE", "--std", "inf"], "--std: is infinite"),
        (["--edge", "EDGE", "--mean", "123.7,116.3,103.5"], "--mean: is not in [0, 1]"),
        (["--edge", "~nobody-of-that-name/x.onnx"], "--edge: ~nobody-of-that-name/x.onnx cannot be read"),
        (["--edge", "EDGE", "--victims", "v" * 300], "cannot be read (File name too long); correct it"),
        (["--edge", "EDGE", "--releases", "SHAPE"], "and the edge sends (3, 4, 4)"),
        (["--releases", "SHAPE"], "9 releases for 64 images in --data; give one for each"),
        (["--releases", "PAIRS", "attack=[rmle]"], "the device is not here to be asked"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(tmp_path, capsys, monkeypatch, words, says):
    (tmp_path / "mine.py").write_text("import torch\ndef edge(): return torch.nn.AvgPool2d(2)\n")
    data = folder(tmp_path / "data", drawn(64))
    put = {"EDGE": f"{tmp_path}/mine.py:edge", "SHAPE": str(saved(tmp_path / "r.npz", releases=np.zeros((9, 5)))),
           "PAIRS": str(saved(tmp_path / "p.npz", releases=sent(drawn(64))))}  # fmt: skip
    code = main(["audit", "--data", str(data), *(put.get(word, word) for word in words)])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and says in lines[0], lines
