"""The bottleneck at the split: what is sent, what is penalised, and what the row says of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import execute, tiny
from torch import Tensor, nn

from splitpriv import config, targets
from splitpriv.defenses.base import Defended
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.vib import Vib
from splitpriv.measure.cost import cost
from splitpriv.run.parts import make_model
from splitpriv.run.prepare import check
from splitpriv.stats.vib import kl_to_normal
from splitpriv.store import Store
from splitpriv.types import Epoch, Phase, Spec, Step, UserError

SPEC = Spec((1, 4, 4), 2)
SHIPPED: dict[str, Any] = {
    "beta": 1e-3, "kl_reduction": "sum", "channels": None, "shift": 5.0, "relu": False, "decoder": False,
    "sample_at_test": True, "warmup": 0.0,
}  # fmt: skip
END = Epoch("fit", 0, 0.1, lambda: iter(()))


class Net(nn.Module):
    """A split network of which only the shape of z matters."""

    def __init__(self, edge: nn.Module, cloud: nn.Module) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Sequential(edge), nn.Sequential(cloud)


def maps(**settings: Any) -> tuple[Defended, Vib]:
    """z of shape (3, 4, 4)."""
    torch.manual_seed(0)
    net = Net(nn.Conv2d(1, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(48, 2)))
    vib = Vib(**{**SHIPPED, **settings})
    return Defended(net, {"vib": vib}, SPEC), vib  # type: ignore[arg-type]


def flat(**settings: Any) -> tuple[Defended, Vib]:
    """z of shape (6,)."""
    torch.manual_seed(0)
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), nn.Linear(6, 2))
    vib = Vib(**{**SHIPPED, **settings})
    return Defended(net, {"vib": vib}, SPEC), vib  # type: ignore[arg-type]


def step(progress: float = 1.0) -> Step:
    return Step(torch.zeros(1), torch.zeros(1).long(), {}, nn.Identity(), "fit", 0, progress, 0.1)


def x(n: int = 8) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_what_is_sent_is_a_fresh_draw_around_the_mean() -> None:
    for model, vib in (maps(shift=0.0), flat(shift=0.0)):
        model.eval()
        z = model.features(x())
        mean, std = vib.code.moments(z)
        draws = torch.stack([model.release(x()) for _ in range(2000)])
        assert draws.shape[2:] == z.shape[1:] == model.shape
        assert not torch.equal(draws[0], draws[1])
        assert torch.allclose(draws.mean(0), mean, atol=0.1)
        assert torch.allclose(draws.std(0), std, rtol=0.1)
        assert std.min() > 0.1


def test_the_spread_is_softplus_of_the_second_half_less_the_shift() -> None:
    model, vib = maps(shift=2.0)
    z = model.features(x())
    mean, std = vib.code.moments(z)
    both = vib.code.encode(z)
    assert vib.code.encode.weight.shape == (6, 3, 1, 1)
    assert torch.equal(mean, both[:, :3])
    assert torch.allclose(std, torch.log1p(torch.exp(both[:, 3:] - 2.0)), atol=1e-6)


def test_the_mean_is_sent_only_where_asked_and_only_at_deployment() -> None:
    for sample in (True, False):
        model, vib = maps(sample_at_test=sample, shift=0.0)
        z = model.features(x())
        assert not torch.equal(model.train().release(x()), vib.code.moments(z)[0])
        assert torch.equal(model.eval().release(x()), vib.code.moments(z)[0]) == (not sample)
        assert vib.adaptive == ({"draws"} if sample else set())


@pytest.mark.parametrize(("make", "shape"), [(maps, (5, 4, 4)), (flat, (5,))])
def test_another_width_goes_through_a_decoder_in_the_cloud(make: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    model, vib = make(channels=5, decoder=True, relu=True)
    assert model.shape == shape
    assert vib.size == math.prod(shape)
    assert model(x()).shape == (8, 2)
    assert (vib.code.moments(model.features(x()))[0] >= 0).all()  # behind the ReLU
    kinds = [type(m).__name__ for m in model.net.cloud.decode]
    assert kinds[1::2] == ["ReLU", "ReLU"]
    assert kinds[0] == kinds[2]
    again, _ = make(channels=5, decoder=True, relu=True)
    again.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})  # strictly
    with pytest.raises(UserError, match=r"^defense\.vib\.channels: .*decoder=true"):
        make(channels=5)


def test_the_device_pays_for_the_encoder_and_the_cloud_for_the_decoder() -> None:
    plain, _ = maps()
    wide, vib = maps(channels=5, decoder=True)
    edge = cost(wide, SPEC, 1)["edge_parameters"]
    assert edge == 2 * 3 + (3 * 10 + 10)
    assert edge - cost(plain, SPEC, 1)["edge_parameters"] == 4 * 4
    assert all(name.startswith(("code.encode", "information")) for name in vib.state_dict())


def test_building_it_uses_no_random_number_and_its_start_depends_on_the_seed() -> None:
    starts, after = [], {}
    for chain in ("none", "vib"):
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = make_model(tiny(f"defense=[{chain}]"), targets.build(tiny()["dataset"], "dataset")())
            after[chain, seed] = torch.rand(2).tolist()
            if chain == "vib":
                starts.append(model.chain.vib.code.encode.weight)
    assert all(after["none", seed] == after["vib", seed] for seed in (0, 1))
    assert not torch.equal(*starts)


def test_the_penalty_is_beta_times_the_kl_summed_or_averaged_over_the_code() -> None:
    for make, size in ((maps, 48), (flat, 6)):
        model, vib = make(beta=0.5)
        z = model.features(x())
        kl = kl_to_normal(*vib.code.moments(z)).flatten(1).sum(1).mean()
        assert vib.penalty(z, step()).item() == pytest.approx(0.5 * kl.item(), rel=1e-6)
        mean, other = make(beta=0.5, kl_reduction="mean")
        value = other.penalty(mean.features(x()), step()).item()
        assert value == pytest.approx(0.5 * kl.item() / size, rel=1e-5)
        assert vib.facts["beta_of_sum"] == 0.5 and vib.facts["beta_of_mean"] == 0.5 * size
        assert other.facts["beta_of_sum"] == pytest.approx(0.5 / size) and other.facts["beta_of_mean"] == 0.5
        assert vib.facts["size"] == size
        found = torch.autograd.grad(vib.penalty(z, step()), [*model.net.edge.parameters(), *vib.parameters()])
        assert all(g.abs().max() > 0 for g in found)


def test_beta_rises_over_the_warm_up() -> None:
    model, vib = maps(beta=2.0, warmup=0.5)
    z = model.features(x())
    whole = vib.penalty(z, step(1.0)).item()
    assert [vib.penalty(z, step(p)).item() / whole for p in (0.0, 0.125, 0.25, 0.5, 0.9)] == pytest.approx(
        [0, 0.25, 0.5, 1, 1]
    )
    model, vib = maps(beta=2.0)
    assert vib.penalty(model.features(x()), step(0.0)).item() == pytest.approx(whole)


def test_the_row_hears_the_nats_of_the_last_epoch() -> None:
    model, vib = maps()
    z = model.features(x())
    nats = [kl_to_normal(*vib.code.moments(s * z)).flatten(1).sum(1).mean().item() for s in (1.0, 3.0)]
    vib.eval()
    vib.penalty(z, step())
    vib.on_epoch_end(END)
    assert vib.facts["information_nats"] == 0  # only what training sees
    vib.train()
    for scales, expected in (((1.0,), nats[0]), ((1.0, 3.0), sum(nats) / 2), ((3.0,), nats[1]), ((), nats[1])):
        for scale in scales:
            vib.penalty(scale * z, step())
        vib.on_epoch_end(END)
        assert vib.facts["information_nats"] == pytest.approx(expected, rel=1e-5)


def test_it_refuses_a_chain_that_trains_the_network_without_it() -> None:
    _, vib = maps()
    other = Noise(sigma=0.1)
    vib.validate({"vib": vib, "noise": other})
    other.phases = (Phase("fit", idle=True), Phase("more"))
    with pytest.raises(UserError, match=r"^defense\.vib: .*only one"):
        vib.validate({"vib": vib, "noise": other})


def test_a_defence_after_it_meets_the_code() -> None:
    model = make_model(tiny("defense=[vib,quantize]"), targets.build(tiny()["dataset"], "dataset")()).eval()
    met = {name: z for name, _, z in model.walk(torch.rand(4, 1, 8, 8))}
    assert met["quantize"].shape == met["vib"].shape
    assert not torch.equal(met["quantize"], met["vib"])


def test_a_run_says_its_facts_and_that_an_attack_must_average(tmp_path: Path) -> None:
    row = execute(tiny("defense=[vib]", "defense.vib.beta=0.01"), Store(tmp_path))
    assert row["defense/vib/beta_of_sum"] == 0.01
    assert row["defense/vib/size"] == 4 * 4 * 4
    assert row["defense/vib/information_nats"] > 0
    assert "adaptive" in {flag["kind"] for flag in row["flags"]}


@pytest.mark.parametrize("chain", ["patrol_cem,vib", "prune,vib", "vib,prune"])
@pytest.mark.parametrize("channels", [4, 8, None])
def test_a_width_of_its_own_is_refused_beside_pruning(chain: str, channels: int | None) -> None:
    words = [f"defense=[{chain}]", "defense.vib.decoder=true", f"defense.vib.channels={channels or 'null'}"]
    problems = check(tiny(*words, *(["defense.prune.pretrained=false"] if "prune" in chain else [])))
    said = [p for p in problems if p.startswith("defense.vib.channels: prune") and p.endswith("set channels=null")]
    assert problems == said and len(said) == (channels is not None)


@pytest.mark.parametrize("chain", ["cloak,vib", "vib,cloak"])
def test_beside_a_defence_with_phases_of_its_own_it_is_refused_in_either_order(chain: str) -> None:
    problems = check(config.compose([f"defense=[{chain}]"]))
    assert [p for p in problems if "phases of its own" in p]
