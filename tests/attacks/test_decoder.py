"""The inverse network: it learns, on the true release, never on victims, and survives being killed."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from splitpriv import progress
from splitpriv.attacks.base import even, flat
from splitpriv.attacks.decoder import Decoder
from splitpriv.attacks.training import Stop, Training
from splitpriv.nets.decoders import conv
from splitpriv.store import state
from splitpriv.store.state import load_tensors
from splitpriv.types import UserError

SETTINGS: dict[str, Any] = {
    "standardise": False,
    "net": functools.partial(conv, width=8, widest=8),
    "epochs": 3,
    "batch": 16,
    "lr": 0.01,
    "min_lr": 1e-4,
    "betas": (0.9, 0.999),
    "amsgrad": False,
    "weight_decay": 0.0,
    "loss": "mse",
    "ssim_weight": 0.5,
    "ssim_padding": "zero",
    "held": 0.25,
    "patience": None,
    "select": "best",
    "tolerance": 0.05,
    "mask": False,
    "observe": "release",
    "top": 1,
    "halves": False,
    "draws": 1,
}


def attack(**changed: Any) -> Decoder:
    return Decoder(**{**SETTINGS, **changed})


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_an_identity_release(world, tmp_path):
    here, decoder = world(), attack(epochs=60, lr=0.03)
    inverse = decoder.fit(here.access(decoder), tmp_path)
    victims = world(aux=type(here)().aux.flip(-1)).aux
    mse = (inverse(victims) - victims).square().mean()
    floor = (here.aux.mean(0) - victims).square().mean()
    assert mse < 0.1 * floor
    curve = inverse.report
    assert len(curve["train"]) == len(curve["held"]) == curve["epochs"] == 60
    assert curve["held"][-1] < 0.2 * curve["held"][0]
    assert load_tensors(tmp_path / "decoder.safetensors").keys() == inverse.net.state_dict().keys()


@pytest.mark.parametrize("loss", ["mse", "l1", "ssim", "mixed"])
def test_every_loss_falls(world, tmp_path, loss):
    decoder = attack(loss=loss, epochs=8)
    train = decoder.fit(world().access(decoder), tmp_path).report["train"]
    assert train[-1] < 0.9 * train[0]


def test_it_trains_on_fresh_noise_of_the_true_release(world, tmp_path):
    here, decoder = world(noise=lambda z: nn.functional.dropout(z, 0.5)), attack(epochs=2, held=0.0, select="last")
    decoder.fit(here.access(decoder), tmp_path)
    first, second = torch.cat(here.seen[:3]), torch.cat(here.seen[3:])
    assert len(first) == len(second) == 48
    for epoch in (first, second):
        assert 0.4 < (epoch == 0).float().mean() < 0.6
    masks = [{tuple((image == 0).flatten().tolist()) for image in epoch} for epoch in (first, second)]
    assert not masks[0] & masks[1]


def test_draws_are_averaged_in_training(world, tmp_path):
    spread = {}
    for draws in (1, 16):
        here = world(edge=torch.zeros_like, noise=lambda z: z + torch.randn_like(z))
        decoder = attack(draws=draws, epochs=1)
        access = here.access(decoder)
        given: list[torch.Tensor] = []
        real = access.aux.release
        access.aux.release = lambda index, n, real=real, given=given: given.append(real(index, n)) or given[-1]
        decoder.fit(access, folder(tmp_path / str(draws)))
        spread[draws] = float(torch.cat(given).std())
    assert spread[1] == pytest.approx(1, rel=0.1) and spread[16] == pytest.approx(0.25, rel=0.1)


def test_fitting_never_looks_at_victims_and_needs_its_rights(world, tmp_path):
    here, decoder = world(), attack()
    access = here.access(decoder)
    decoder.fit(access, tmp_path)
    assert here.intercepted == 0
    for right in ("edge", "clean", "cloud"):
        with pytest.raises(PermissionError, match=right):
            getattr(access, right)


def test_scored_in_evaluation_mode(world, tmp_path):
    decoder = attack(epochs=1)
    inverse = decoder.fit(world().access(decoder), tmp_path)
    before = {k: v.clone() for k, v in inverse.state_dict().items()}
    inverse.train()
    assert not any(module.training for module in inverse.modules())
    alone, together = inverse(world().aux[:1]), inverse(world().aux)
    assert torch.allclose(alone, together[:1], atol=1e-6)
    assert together.min() >= 0 and together.max() <= 1
    assert all(torch.equal(v, before[k]) for k, v in inverse.state_dict().items())


def scripted(monkeypatch: pytest.MonkeyPatch, held: list[float]) -> None:
    values = iter(held)
    monkeypatch.setattr(Decoder, "held_mse", lambda *_: torch.tensor(next(values)))


def test_the_best_epoch_by_held_out_mse_is_kept_or_the_last(world, tmp_path, monkeypatch):
    held, kept = [0.5, 0.3, 0.1, 0.2, 0.4, 0.3], {}
    for select, epochs in (("best", 6), ("last", 6), ("last", 3)):
        scripted(monkeypatch, held)
        decoder = attack(select=select, min_lr=0.01, epochs=epochs)
        kept[select, epochs] = decoder.fit(world().access(decoder), folder(tmp_path / f"{select}{epochs}" / "same"))
    assert equal(kept["best", 6], kept["last", 3]) and not equal(kept["best", 6], kept["last", 6])
    assert kept["best", 6].report["held"] == pytest.approx(held)


def test_early_stopping(world, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.3, 0.4, 0.4, 0.1])
    decoder = attack(epochs=50, patience=2)
    report = decoder.fit(world().access(decoder), tmp_path).report
    assert report["held"] == pytest.approx([0.5, 0.3, 0.4, 0.4]) and not report["converged"]  # its rate had not fallen


def test_a_plateau_counts_where_the_rate_has_fallen_and_something_was_learned(tmp_path):
    training = Training("", tmp_path / "none.pt", "", 20, Stop(0.1, None, "best", 0.02))
    learned = {"train": [], "held": [0.5, 0.2, *[0.1] * 17]}
    assert training.settled(learned) and training.settled(learned, 0.2)
    assert not training.settled(learned, 0.101)  # a flat line where the mean image lies
    assert not training.settled({**learned, "held": learned["held"][:12]})  # patience, at two thirds of the rate
    assert not training.settled(learned, 0.2, period=40)
    assert not training.settled({**learned, "held": [0.5 - 0.01 * k for k in range(20)]})


def test_a_decoder_that_stayed_at_the_mean_image_has_not_converged(world, tmp_path):
    here, decoder = world(edge=torch.zeros_like), attack(epochs=12, tolerance=0.3)
    report = decoder.fit(here.access(decoder), tmp_path).report
    assert flat(report["held"], 0.3) and report["converged"] is False


def test_a_run_that_is_still_falling_has_not_converged(world, tmp_path):
    decoder = attack(epochs=4, lr=1e-3, tolerance=1e-4)
    assert decoder.fit(world().access(decoder), tmp_path).report["converged"] is False
    assert flat([1.0, 0.5, 0.1, 0.0999], 0.01) and not flat([1.0, 0.5, 0.1, 0.05], 0.01) and not flat([1.0], 0.01)


def test_killed_and_resumed_equals_uninterrupted(world, tmp_path, monkeypatch):
    decoder = attack(epochs=3)
    noisy = functools.partial(world, noise=lambda z: z + 0.1 * torch.randn_like(z))
    whole = decoder.fit(noisy().access(decoder), folder(tmp_path / "a" / "key"))

    real, home = state.save_state, folder(tmp_path / "b" / "key")

    def killed(path: Path, epoch: int, *rest: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        real(path, epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(state, "save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            decoder.fit(noisy().access(decoder), home)
    torch.manual_seed(12345)
    again = decoder.fit(noisy().access(decoder), home)
    assert equal(whole, again) and whole.report == again.report


def test_nothing_is_dropped_and_small_aux_works(world, tmp_path):
    pieces = even(torch.arange(129), 128)
    assert [len(p) for p in pieces] == [65, 64] and torch.equal(torch.cat(pieces), torch.arange(129))
    here, decoder = world(aux=world().aux[:7]), attack(epochs=1, batch=64)
    decoder.fit(here.access(decoder), tmp_path)
    assert sum(map(len, here.seen)) == 7


def test_bad_settings_and_diverging_losses_say_what_to_do(world, tmp_path):
    with pytest.raises(UserError, match=r"\.held"):
        attack(held=0.0)
    decoder = attack()
    with pytest.raises(UserError, match=r"\.lr"):
        decoder.fit(world(noise=lambda z: z * math.nan).access(decoder), tmp_path)


def test_progress_is_shown_once_per_epoch(world, tmp_path, monkeypatch):
    calls: list[tuple[str, int]] = []
    real = progress.bar
    monkeypatch.setattr(
        progress, "bar", lambda label, total, **k: calls.append((label, total)) or real(label, total, **k)
    )
    decoder = attack()
    decoder.fit(world().access(decoder), tmp_path)
    assert calls == [("decoder", 3)]


def test_an_offset_and_the_scale_of_a_release_do_not_matter(world, tmp_path):
    held = []
    for k, edge in enumerate([lambda x: x, lambda x: 40 + 1e-3 * x]):
        here, decoder = world(edge=edge), attack(epochs=3, standardise=True)
        report = decoder.fit(here.access(decoder), folder(tmp_path / str(k) / "key")).report
        held.append(report["held"][-1])
    assert held[1] == pytest.approx(held[0], rel=0.05)


def test_what_twice_the_aux_would_bring_is_told_and_changes_nothing_else(world, tmp_path):
    found = {}
    for halves in (False, True):
        here, decoder = world(), attack(epochs=20, halves=halves, lr=0.02)
        found[halves] = decoder.fit(here.access(decoder), folder(tmp_path / str(halves) / "key"))
    report = found[True].report
    gain = report.pop("gain_from_twice_aux")
    assert 0.05 < gain < 1  # 36 images are few
    assert equal(*found.values()) and report == found[False].report
    with pytest.raises(UserError, match="halves"):
        attack(halves=True, held=0.0, select="last")
