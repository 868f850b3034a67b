"""PATROL (Ding et al., WACV 2024): min_{θ,m} max_{θ_adv} L_task + Σα_i k_i + λ|m| − β·L_adv, then m_j < τ goes."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitpriv.defenses.adversarial import Adversarial
from splitpriv.defenses.base import Defended
from splitpriv.defenses.lipschitz import Lipschitz, quotients
from splitpriv.defenses.prune import Prune
from splitpriv.nets import small
from splitpriv.nets.decoders import conv
from splitpriv.nets.split import SplitNet
from splitpriv.types import Phase, Spec, Step

SPEC = Spec((3, 16, 16), 4)


def blocks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval(),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU()).eval(),
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.ReLU()).eval(),
    ]


class After(nn.Module):
    """z -> scale·z + shift: says exactly as much about the image as z."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * z + self.shift


def images(count: int = 32) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return F.interpolate(coarse, size=16, mode="bilinear", align_corners=True)


def last(normalise: Any, **after: float) -> Tensor:
    """k_N of the three blocks, whose features are scaled and shifted at the end."""
    x = images()
    shifted = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    *front, end = blocks()
    with torch.no_grad():
        return quotients([*front, nn.Sequential(end, After(**after))], x, shifted, False, normalise)[-1]


# ---- the Lipschitz term --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", ["none", "rms", "std"])
def test_the_product_of_all_k_telescopes_to_the_edge_s_own(normalise: Any) -> None:
    x, parts = images(), blocks()
    shifted = x + 0.05 * torch.randn_like(x)

    def rms(h: Tensor) -> Tensor:
        centred = h - h.mean(0) if normalise == "std" else h
        return centred.square().mean().sqrt() if normalise != "none" else torch.tensor(1.0)

    with torch.no_grad():
        ks = torch.stack(quotients(parts, x, shifted, False, normalise))
        clean, moved = (nn.Sequential(*parts)(h) for h in (x, shifted))
    own = ((moved - clean).flatten(1).norm(dim=1) / rms(clean)) / ((shifted - x).flatten(1).norm(dim=1) / rms(x))
    torch.testing.assert_close(ks.prod(0), own, rtol=1e-4, atol=0)


def test_rescaling_the_features_games_the_printed_term_and_not_the_normalised_ones() -> None:
    torch.testing.assert_close(last("none", scale=0.01), 0.01 * last("none"), rtol=1e-4, atol=0)
    for normalise in ("rms", "std"):
        torch.testing.assert_close(last(normalise, scale=0.01), last(normalise), rtol=1e-3, atol=0)


def test_an_offset_games_the_rms_and_not_the_deviation() -> None:
    assert last("rms", shift=100.0).mean() < 0.05 * last("rms").mean()
    torch.testing.assert_close(last("std", shift=100.0), last("std"), rtol=1e-3, atol=0)


def test_image_and_changed_image_meet_the_same_batchnorm() -> None:
    """In training, statistics of two separate batches would give another k for a change that all images share."""
    torch.manual_seed(0)
    x = images()
    norm = nn.BatchNorm2d(3).train()
    step = Step(x, torch.zeros(len(x), dtype=torch.long), {}, nn.Sequential(norm), "fit", 0, 0.0, 0.1)
    for statistics in ("joint", "frozen"):
        torch.manual_seed(1)
        term = Lipschitz(weight=1.0, sigma=0.05, aggregate="mean", detach=False, normalise="none",
                         statistics=statistics)  # type: ignore[arg-type]  # fmt: skip
        torch.manual_seed(1)
        both = torch.cat([x, x + 0.05 * torch.randn_like(x)])
        variance = both.var((0, 2, 3), correction=0) if statistics == "joint" else torch.ones(3)
        scaled = (both / (variance.view(3, 1, 1) + 1e-5).sqrt()).flatten(1).chunk(2)
        plain = both.flatten(1).chunk(2)
        expected = (scaled[1] - scaled[0]).norm(dim=1) / (plain[1] - plain[0]).norm(dim=1)
        torch.manual_seed(1)
        assert term.penalty(x, step).item() == pytest.approx(expected.mean().item(), rel=1e-3)  # type: ignore[union-attr]
    assert not norm.running_mean.any()


# ---- adversarial reconstruction ------------------------------------------------------------------------------------


@pytest.fixture
def game() -> tuple[Defended, Step]:
    """A chain of PATROL's three parts on a small network whose adversary has learnt a little."""
    torch.manual_seed(0)
    chain = {
        "prune": Prune(weight=0.01, shrink="proximal", by="threshold", amount=0.05, structures="all", release=True,
                       pretrained=False, finetune=0.1, epochs=10),
        "lipschitz": Lipschitz(weight=0.02, sigma=0.05, aggregate="mean", detach=False, normalise="none",
                               statistics="joint"),
        "adversarial": Adversarial(net=functools.partial(conv, width=8, widest=8), weight=1.0, loss="mse",
                                   threshold=0.5, ceiling=None, inner_loss="mse", padding="zero", lr=0.01, steps=1,
                                   warmup=0, start="seed"),
    }  # fmt: skip
    model = Defended(SplitNet(small.tiny(SPEC, width=4), SPEC, at=2, bottleneck=None), chain, SPEC).train()
    x = images()
    return model, Step(x, torch.arange(len(x)) % 4, {}, model.net.edge, "prune", 0, 0.0, 0.1)


def loss_of(adversary: Adversarial, z: Tensor, x: Tensor) -> float:
    return float(adversary.decoder.score(z, x)[0].mean())


def descend(model: Defended, step: Step, steps: int) -> None:
    """Inner steps: the adversary against a frozen edge."""
    adversary: Adversarial = model.chain["adversarial"]  # type: ignore[assignment]
    optimizer = adversary.adversary_optimizer()
    for _ in range(steps):
        optimizer.zero_grad()
        adversary.adversary_loss(model.release(step.x).detach(), step).backward()
        optimizer.step()


def test_the_inner_step_lowers_the_adversary_s_loss_and_leaves_edge_and_masks(game: Any) -> None:
    model, step = game
    before = [p.detach().clone() for p in (*model.net.parameters(), model.chain["prune"].mask)]
    first = loss_of(model.chain["adversarial"], model.release(step.x), step.x)
    descend(model, step, 40)
    assert loss_of(model.chain["adversarial"], model.release(step.x), step.x) < 0.7 * first
    after = (*model.net.parameters(), model.chain["prune"].mask)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in model.net.parameters())


def test_the_outer_step_on_weights_and_masks_raises_it_and_leaves_the_adversary(game: Any) -> None:
    model, step = game
    descend(model, step, 60)
    adversary = model.chain["adversarial"]
    kept = {k: v.clone() for k, v in adversary.state_dict().items()}
    adversary.zero_grad()
    outer = torch.optim.SGD([*model.net.edge.parameters(), model.chain["prune"].mask], lr=0.3)
    first = loss_of(adversary, model.release(step.x), step.x)
    for _ in range(5):
        outer.zero_grad()
        adversary.penalty(model.release(step.x), step).backward()
        assert model.chain["prune"].mask.grad.any()
        assert all(p.grad is None for p in adversary.parameters())
        outer.step()
    assert loss_of(adversary, model.release(step.x), step.x) > 1.1 * first
    assert all(torch.equal(kept[k], v) for k, v in adversary.state_dict().items())


# ---- pruning -------------------------------------------------------------------------------------------------------


def test_a_silent_channel_is_a_removed_one_and_the_count_is_as_predicted(game: Any) -> None:
    model, step = game
    descend(model, step, 2)
    for _ in range(3):
        model(step.x)  # BatchNorm has seen something
    prune: Prune = model.chain["prune"]
    prune.mask.data[[0, 3, 5, 6, 9]] = 0.0
    prune.mask.data[[1, 4]] = torch.tensor([0.06, -1.3])
    model.eval()
    with torch.no_grad():
        logits, z = model(step.x), model.release(step.x)
        predicted = prune.structures.predicted(model.net, [0, 3, 5, 6, 9])
        prune.on_phase_start(Phase("finetune"), model)
        model.eval()
        assert (model(step.x) - logits).abs().max() < 1e-6
        assert (model.release(step.x) - z[:, [0, 3, 4, 6, 7]]).abs().max() < 1e-6
    assert sum(p.numel() for p in model.net.edge.parameters()) == predicted == 2 * 27 + 4 + 5 * 2 * 9 + 10
    assert prune.facts["parameters_saved"] == pytest.approx(1 - 158 / (4 * 27 + 8 + 8 * 36 + 16))


def test_a_mask_ahead_of_the_batchnorm_would_not_silence_it() -> None:
    """Why masks stand behind it: its bias survives a silent convolution."""
    conv2d, norm = nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2).eval()
    norm.bias.data.fill_(0.5)
    mask = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    assert norm(conv2d(images()) * mask)[:, 0].abs().min() > 0.4
    assert not (norm(conv2d(images())) * mask)[:, 0].any()


def test_useless_channels_shrink_and_useful_ones_do_not() -> None:
    """Proximal descent on masks alone: what the task reads keeps its mask, what it does not fades to exactly zero."""
    torch.manual_seed(0)
    net = SplitNet(small.tiny(SPEC, width=4), SPEC, at=1, bottleneck=None)
    net.cloud.conv2.conv.weight.data[:, [1, 2]] = 0  # type: ignore[union-attr,index]
    prune = Prune(weight=0.02, shrink="proximal", by="threshold", amount=0.05, structures="all", release=True,
                  pretrained=False, finetune=0.1, epochs=10)  # fmt: skip
    model = Defended(net, {"prune": prune}, SPEC).train()
    x = images()
    with torch.no_grad():
        y = model(x).argmax(1)
    step = Step(x, y, {}, net.edge, "prune", 0, 0.0, lr=1.0)
    optimizer = torch.optim.SGD([prune.mask], lr=step.lr)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(3 * model(x), y).backward()
        optimizer.step()
        prune.on_step_end(x, step)
    assert prune.mask[[1, 2]].tolist() == [0.0, 0.0]
    assert prune.mask[[0, 3]].abs().max() > 0.3
    prune.on_phase_start(Phase("finetune"), model)
    assert model.shape[0] <= 2
