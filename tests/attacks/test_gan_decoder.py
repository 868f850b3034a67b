"""WGAN-GP fine-tuning of the inverse network: the game is played as written, on images of aux alone."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from holders import equal, folder, hold, killed_and_resumed, mse, quadrants
from test_decoder import SETTINGS as DECODER
from torch import Tensor, nn

from splitpriv.attacks import gan_decoder
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.gan_decoder import Game, GanDecoder, gradient_penalty
from splitpriv.attacks.rmle import Rmle
from splitpriv.nets.critics import dgwgan
from splitpriv.types import UserError

X, _ = quadrants(48)
VICTIMS, _ = quadrants(32, seed=1)
FLOOR = mse(X.mean(0), VICTIMS)
SETTINGS: dict[str, Any] = {
    "critic": functools.partial(dgwgan, width=4, widest=8), "epochs": 4, "batch": 16, "n_critic": 3, "lr": 1e-3,
    "critic_lr": 1e-3, "period": None, "betas": (0.5, 0.999), "penalty": 10.0, "mse_weight": 100.0, "patience": None,
    "select": "best", "tolerance": 0.05,
}  # fmt: skip


def attack(base: dict[str, Any] | None = None, **changed: Any) -> GanDecoder:
    return GanDecoder(base=functools.partial(Decoder, **{**DECODER, "epochs": 2, **(base or {})}),
                      **{**SETTINGS, **changed})  # fmt: skip


class Linear(nn.Module):
    """D(x) = <w, x>, remembering what it was shown."""

    def __init__(self, image: tuple[int, ...] = (1, 8, 8), weight: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full(image, weight))
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach())
        return (x * self.w).flatten(1).sum(1)


def test_it_beats_the_mean_image_where_the_release_tells_and_not_where_it_does_not(tmp_path: Path) -> None:
    found = {}
    for name, edge in (("identity", lambda x: x), ("constant", lambda x: 0 * x)):
        gan = attack({"epochs": 25, "lr": 0.03}, epochs=4)
        inverse = gan.fit(hold(gan, edge=edge, x=X), folder(tmp_path / name))
        found[name] = mse(inverse(edge(VICTIMS)), VICTIMS)
    assert found["identity"] < 0.15 * FLOOR
    assert found["constant"] > 0.9 * FLOOR


def test_fine_tuning_improves_a_decoder_that_had_more_to_learn(tmp_path: Path) -> None:
    gan = attack({"epochs": 1}, epochs=30, n_critic=1, lr=0.01)
    report = gan.fit(hold(gan, x=X), tmp_path).report
    assert min(report["held"]) < 0.5 * report["start"]
    assert len(report["train"]) == len(report["held"]) == len(report["distance"]) == report["epochs"] == 30
    assert report["decoder_epochs"] == 1 and isinstance(report["converged"], bool)


@pytest.mark.parametrize(("weight", "penalty"), [(1 / 8, 0.0), (3 / 8, 4.0), (0.0, 1.0)])
def test_gradient_penalty_of_a_linear_critic_is_exact(weight: float, penalty: float) -> None:
    critic = Linear(weight=weight)  # its gradient is w everywhere, of norm 8 * weight
    found = gradient_penalty(critic, X[:5], 1 - X[:5])
    assert float(found.detach()) == pytest.approx(penalty, abs=1e-6)
    found.backward()
    slope = 2 * (8 * weight - 1) / 8 if weight else 0.0  # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert torch.allclose(critic.w.grad, torch.full((1, 8, 8), slope), atol=1e-6)


def test_gradient_penalty_is_taken_between_the_pair_once_per_image() -> None:
    critic = Linear()
    gradient_penalty(critic, torch.zeros(64, 1, 8, 8), torch.ones(64, 1, 8, 8))
    between = critic.shown[0].flatten(1)
    assert (between == between[:, :1]).all() and 0.4 < between.mean() < 0.6 and between[:, 0].unique().numel() > 60


def game(critic: nn.Module, **changed: Any) -> Game:
    gan = attack(**changed)
    torch.manual_seed(0)
    return Game(gan, hold(gan, x=X), gan.base.net((1, 8, 8), (1, 8, 8)), critic)


def test_the_critic_rises_on_images_and_falls_on_decoded_ones() -> None:
    played = game(Linear(), penalty=0.0)
    before = [p.clone() for p in played.net.parameters()]
    played._judge(torch.arange(16))
    x, fake = played.critic.shown[:2]
    assert torch.equal(x, X[:16]) and not fake.requires_grad
    assert torch.equal(played.critic.w.detach().sign(), (x.mean(0) - fake.mean(0)).sign())
    assert all(torch.equal(p, q) for p, q in zip(before, played.net.parameters(), strict=True))


def test_the_critic_pays_for_a_slope_that_is_not_one() -> None:
    for weight, sign in ((1 / 16, 1), (1 / 4, -1)):  # slopes of 1/2 and 2
        played = game(Linear(weight=weight))
        played.attack.base.pair = lambda *_: (X[:16], X[:16])  # nothing to tell apart
        played._judge(torch.arange(16))
        assert (sign * (played.critic.w.detach() - weight) > 0).all()


def test_the_decoder_climbs_the_critic_and_weighs_the_mse() -> None:
    for sign in (1.0, -1.0):
        played = game(Linear(weight=sign), mse_weight=0.0)
        start = played.net(X).mean()
        for _ in range(5):
            played._refine(torch.arange(48))
        assert (played.net(X).mean() - start) * sign > 0
        assert (
            played.critic.w.detach().unique().tolist() == [sign]
            and played.critic.w.requires_grad
            and played.critic.w.grad is None
        )
    played = game(Linear(weight=1.0), mse_weight=1e4)
    start = mse(played.net(X), X)
    for _ in range(20):
        played._refine(torch.arange(48))
    assert mse(played.net(X), X) < start


def test_the_decoder_moves_every_n_critic_steps_across_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    for name in ("_judge", "_refine"):
        real = getattr(Game, name)
        monkeypatch.setattr(Game, name, lambda self, part, n=name, f=real: turns.append(n) or f(self, part))
    gan = attack(n_critic=4)  # 36 of 48 images in parts of 12 at most 16: three steps an epoch
    gan.fit(hold(gan, x=X), tmp_path)
    assert [len(run) for run in "".join("j" if t == "_judge" else "r" for t in turns).split("r")] == [4, 4, 4, 0]


def test_the_critic_meets_images_of_aux_alone_and_none_that_is_held_out(tmp_path: Path) -> None:
    critics: list[Linear] = []
    gan = attack(critic=lambda image: critics.append(Linear(image)) or critics[-1])
    access = hold(gan, x=X)  # its intercept raises
    gan.fit(access, tmp_path)
    held = X[gan.base.shares(access, tmp_path / "decoder" / tmp_path.name)[0]]
    shown = {tuple(image.flatten().tolist()) for part in critics[0].shown for image in part}
    known, apart, victims = ({tuple(image.flatten().tolist()) for image in images} for images in (X, held, VICTIMS))
    assert len(critics) == 1 and len(apart) == 12
    assert shown & known == known - apart and not shown & victims
    for right in ("edge", "clean", "cloud", "mask"):
        with pytest.raises(PermissionError, match=right):
            getattr(access, right)


def test_it_trains_on_fresh_releases(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    gan = attack(epochs=3)
    gan.fit(hold(gan, x=X, noise=lambda z: z + torch.rand(()), seen=seen), tmp_path)
    offsets = [float((r - r.round(decimals=0)).sum()) for r in seen]
    assert len(set(offsets)) == len(offsets) > 3 * 4


def test_rates_fall_along_a_cosine_of_the_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real = gan_decoder.cosine

    def spy(optimizer: torch.optim.Optimizer, *rest: float) -> None:
        real(optimizer, *rest)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(gan_decoder, "cosine", spy)
    gan = attack(period=8, lr=0.002, critic_lr=0.02)
    gan.fit(hold(gan, x=X), tmp_path)
    falls = [(1 + math.cos(math.pi * e / 8)) / 2 for e in range(4)]
    assert rates == pytest.approx([v for f in falls for v in (0.002 * f, 0.02 * f)])


def test_the_best_epoch_or_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {}
    for select, epochs in (("best", 5), ("last", 5), ("last", 3)):
        values = iter([0.9, 0.9, 0.9, 0.5, 0.3, 0.1, 0.2, 0.4])  # two of the decoder, the start, then the game
        monkeypatch.setattr(Decoder, "held_mse", lambda *_, v=values: torch.tensor(next(v)))
        gan = attack(select=select, epochs=epochs, period=8, n_critic=1)
        kept[select, epochs] = gan.fit(hold(gan, x=X), folder(tmp_path / f"{select}{epochs}" / "same"))
    assert equal(kept["best", 5], kept["last", 3]) and not equal(kept["best", 5], kept["last", 5])
    assert kept["best", 5].report["start"] == pytest.approx(0.9)


@pytest.mark.parametrize("stop", ["last.pt", "gan.pt"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    gan = attack({"epochs": 3}, epochs=3)
    noisy = functools.partial(hold, gan, x=X, noise=lambda z: z + 0.1 * torch.randn_like(z))
    whole, again = killed_and_resumed(gan, noisy, tmp_path, monkeypatch, stop)
    assert equal(whole, again) and whole.report == again.report


@pytest.mark.parametrize(("image", "halvings"), [((3, 32, 32), 3), ((1, 28, 28), 3), ((3, 64, 64), 4), ((1, 1, 16), 2),
                                                 ((1, 4, 4), 0), ((3, 218, 178), 6)])  # fmt: skip
def test_a_critic_scores_any_image_one_by_one(image: tuple[int, int, int], halvings: int) -> None:
    critic = dgwgan(image, width=4, widest=8)
    x = torch.rand(3, *image)
    together = critic(x)
    assert together.shape == (3,) and torch.allclose(critic(x[:1]), together[:1], atol=1e-5)
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in critic) == halvings


def test_the_critic_at_32_is_cem_s() -> None:
    weights = [tuple(p.shape) for p in dgwgan((3, 32, 32), width=64, widest=512).parameters()]
    assert weights == [(64, 3, 5, 5), (64,), (128, 64, 5, 5), (128,), (128,), (128,), (256, 128, 5, 5), (256,), (256,),
                       (256,), (1, 256, 4, 4), (1,)]  # fmt: skip


def test_it_is_what_its_base_is_and_bad_settings_say_what_to_do(tmp_path: Path) -> None:
    gan = attack({"draws": 4, "mask": True})
    assert gan.draws == 4 and gan.adapts == {"draws", "mask"} and gan.requires == {"query", "aux", "mask"}
    with pytest.raises(UserError, match=r"^\.base\.held"):
        attack({"held": 0.0, "select": "last"})
    with pytest.raises(UserError, match=r"^\.base: only an inverse network"):
        GanDecoder(base=lambda: object.__new__(Rmle), **SETTINGS)
    few = attack(n_critic=100)
    with pytest.raises(UserError, match=r"^\.epochs: 12 steps"):
        few.fit(hold(few, x=X), tmp_path)
