"""What sees as people do: scales of SSIM, and a classifier learned on aux that reconstructions are shown to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small import changed, execute, numbers, tiny
from torch import Tensor, nn

from splitpriv import metrics
from splitpriv.data.base import Split
from splitpriv.measure import measure
from splitpriv.measure.judge import Bench, Judge, frechet
from splitpriv.run.prepare import check, prepare
from splitpriv.stats.ssim import C1, SCALES, SMALLEST, ms_ssim, scales
from splitpriv.store import Store
from splitpriv.types import Spec

SMALL = {"width": 4, "features": 8, "epochs": 6, "batch": 16, "lr": 0.01}
NODE = {"_target_": "splitpriv.measure.judge.Judge", "attribute": "y", **SMALL, "epochs": 2}


# ---- MS-SSIM -------------------------------------------------------------------------------------------------------


def test_ms_ssim_of_constants_is_luminance_at_the_coarsest_scale() -> None:
    a, b = torch.full((2, 3, 32, 32), 0.5), torch.stack([torch.full((3, 32, 32), v) for v in (0.5, 0.25)])
    luminance = (2 * 0.5 * 0.25 + C1) / (0.5**2 + 0.25**2 + C1)
    weight = SCALES[1] / (SCALES[0] + SCALES[1])  # two scales at 32 pixels
    assert ms_ssim(a, b).tolist() == pytest.approx([1, luminance**weight], abs=1e-4)


def test_small_images_have_fewer_scales() -> None:
    assert [scales(side) for side in (8, 11, 28, 32, 64, 100, 176, 224)] == [0, 1, 2, 2, 3, 4, 5, 5]
    torch.manual_seed(0)
    for side in SMALLEST:
        x = torch.rand(2, 1, side, side + 5)
        assert ms_ssim(x, x).tolist() == pytest.approx([1, 1]) and 0 <= ms_ssim(x, x.flip(0))[0] < 0.9
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ms_ssim(x[..., :10], x[..., :10])


def test_images_without_a_window_are_refused() -> None:
    [problem] = check(changed(tiny(), "measure.ms_ssim", True))
    assert problem.startswith("measure.ms_ssim: images of 8x8 hold no window of 11 pixels")


# ---- the judge -----------------------------------------------------------------------------------------------------


def split(images: Tensor, y: list[int], **attributes: list[int]) -> Split:
    count = len(y)
    return Split(images, torch.tensor(y), torch.arange(count), {k: torch.tensor(v) for k, v in attributes.items()})


def shades(count: int, seed: int) -> Split:
    """Dark images (0) and bright ones (1), in turn."""
    noise = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) / 2
    y = [i % 2 for i in range(count)]
    return split(noise + torch.tensor(y).view(-1, 1, 1, 1) / 2, y)


class Shade(nn.Sequential):
    """Features: the mean of the left half and of the right; logits: dark, bright."""

    def __init__(self) -> None:
        head = nn.Linear(2, 2)
        head.weight.data, head.bias.data = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), torch.tensor([1.0, -1.0])
        super().__init__(nn.Sequential(nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten()), head)


def test_recognised_and_how_far_apart_per_victim() -> None:
    judge = Judge(attribute="y", **SMALL)
    aux, victims = shades(64, 0), shades(4, 1)
    bench = Bench(judge, Shade(), aux, victims)
    turned = victims.images.clone()
    turned[2] += 0.5  # a dark one made bright
    found = bench.scores(turned)
    assert found["told"].tolist() == [1, 1, 0, 1] and bench.facts == {"told": 1.0, "majority": 0.5}
    features = nn.functional.adaptive_avg_pool2d(aux.images, (1, 2)).flatten(1).double()
    strangers = torch.cdist(features, features).square().sum() / (64 * 63)
    assert found["feature_distance"].tolist() == pytest.approx([0, 0, 0.5 / float(strangers), 0], rel=1e-4)
    assert list(bench.means(turned)) == ["frechet@4"] and bench.means(victims.images)["frechet@4"] < 1e-6


def test_how_near_a_training_image_of_the_class_is() -> None:
    aux, victims, train = shades(64, 0), shades(4, 1), shades(32, 2)
    bench = Bench(Judge(attribute="y", **SMALL), Shade(), aux, victims)
    assert bench.means(train.images[[0, 1, 2, 3]], train)["train_distance"] == pytest.approx(0, abs=1e-6)
    swapped = bench.means(train.images[[1, 0, 3, 2]], train)["train_distance"]  # of the other class
    assert swapped > 0.5 and "train_distance" not in bench.means(train.images[:4])


def test_without_known_identities_it_re_identifies() -> None:
    judge = Judge(attribute="identity", **SMALL)
    aux, victims = shades(8, 0), shades(4, 1)
    aux = split(aux.images, [0] * 8, identity=[9] * 8)
    victims = split(victims.images, [0] * 4, identity=[0, 1, 0, 1])
    net = Shade()
    net[1] = nn.Linear(2, 10)
    bench = Bench(judge, net, aux, victims)
    assert "told" not in bench.scores(victims.images) and bench.facts["rank1"] >= 0.5
    assert {"rank1", "map", "chance_rank1", "frechet@4"} <= set(bench.means(victims.images))


def test_the_frechet_distance_of_gaussians() -> None:
    torch.manual_seed(0)
    a = torch.randn(200, 3)
    a = a - a.mean(0)
    shift = torch.tensor([1.0, 2.0, 0.0])
    assert frechet(a + shift, a) == pytest.approx(5, abs=1e-3) and frechet(a, a) == pytest.approx(0, abs=1e-3)
    assert frechet(2 * a, a) == pytest.approx(float(a.var(0).sum()), rel=1e-3)  # (2σ - σ)² in every direction


def test_it_learns_from_aux_once_and_loads_the_same(tmp_path: Path) -> None:
    judge, aux, made = Judge(attribute="y", **SMALL), shades(64, 0), []

    def share(what, build):  # type: ignore[no-untyped-def]
        home = tmp_path / "prior"
        if not home.exists():
            home.mkdir()
            build(home)
            made.append(what)
        return home

    spec = Spec((1, 8, 8), 2)
    first, again = (judge.learned(aux, spec, share) for _ in range(2))
    victims = shades(40, 1)
    assert Bench(judge, first, aux, victims).facts["told"] > 0.9 and made == [judge.what]
    x = victims.images
    assert torch.equal(first(x), again(x)) and not any(p.requires_grad for p in first.parameters())


def test_a_row_tells_what_the_judge_says_and_is_otherwise_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = numbers(execute(tiny("defense=[noise]"), store))
    judged = execute(changed(tiny("defense=[noise]"), "measure.judge", NODE), store)
    told = {k for k in judged if k.rpartition("/")[2].partition("@")[0] in ("told", "feature_distance", "frechet")}
    who = [f"{who}/told" for who in ("judge", "privacy/decoder", "privacy/worst", "floor/mean_image")]
    assert {*who, "privacy/decoder/feature_distance", "privacy/decoder/frechet@8"} <= told
    assert all(metrics.find(key) for key in told)
    same = {k: v for k, v in plain.items() if k.partition("/")[0] in ("privacy", "floor")}
    assert len(same) >= 12 and {k: v for k, v in numbers(judged).items() if k in same} == same
    undefended = prepare(changed(tiny(), "measure.judge", NODE)).plan
    assert undefended.priors["judge"] in {path.name for path in (tmp_path / "prior").iterdir()}  # all chains share it


@pytest.mark.parametrize(
    ("key", "value", "overrides", "said"),
    [
        ("measure.judge", {**NODE, "attribute": "age"}, (), "measure.judge.attribute: the data set has no 'age'"),
        ("measure.judge", NODE, ("knowledge=none",), "measure.judge.attribute: is learned from labels"),
        ("measure.judge", {**NODE, "epochs": 0}, (), "measure.judge.epochs: "),
        ("objective", "privacy/decoder/told", (), "objective: no row of this run has"),
    ],
)
def test_what_cannot_be_judged_is_refused(key: str, value: object, overrides: tuple[str, ...], said: str) -> None:
    [problem] = check(changed(tiny(*overrides), key, value))
    assert problem.startswith(said)
    assert not check(changed(changed(tiny(), "measure.judge", NODE), "objective", "privacy/decoder/told"))


def test_a_number_that_moves_with_n_has_it_in_its_name() -> None:
    found = metrics.find("privacy/decoder/frechet@200")
    assert found and found.label.endswith("n = 200") and found.better == "higher"
    assert metrics.find("privacy/decoder/frechet") is None and metrics.find("privacy/decoder/mse@200") is None
    assert metrics.within("privacy/worst/ssim") == (-1, 1) and metrics.within("floor/mean_image/ms_ssim") == (0, 1)


def test_scores_hold_ms_ssim_where_asked_for() -> None:
    x = torch.rand(3, 1, 32, 32)
    found = measure.scores(x, x, ssim_padding="reflect", lpips=None, multiscale=True)
    assert found["ms_ssim"].tolist() == pytest.approx([1] * 3)
