"""Soft masks and physical removal: what is masked, what goes, and that nothing else changes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.defenses.adversarial import Adversarial
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.parts.resize import carry
from splitpriv.defenses.prune import Prune
from splitpriv.nets import pretrained, pruning, resnet, small, vgg
from splitpriv.nets.decoders import conv
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.types import Phase, Spec, Step, UserError

RGB = Spec((3, 32, 32), 10, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
GREY = Spec((1, 8, 8), 3)
C8 = {"channels": 8, "kernel": 3, "stride": 1, "activation": "relu"}
SIGMOID = {**C8, "activation": "sigmoid"}
SETTINGS: dict[str, Any] = {
    "weight": 0.1, "shrink": "proximal", "by": "threshold", "amount": 0.1, "structures": "all", "release": True,
    "pretrained": True, "finetune": 0.1, "epochs": 20,
}  # fmt: skip
FINETUNE = Phase("finetune")


def r20() -> Backbone:
    return resnet.resnet20(RGB, stem_kernel=3, stem_width=4, widths=[4, 8, 8], strides=[1, 2, 2])


NETS: dict[str, tuple[Callable[[], Backbone], int | str, Any]] = {
    "tiny": (lambda: small.tiny(RGB, width=4), 2, None),
    "tiny bottleneck": (lambda: small.tiny(RGB, width=4), 2, C8),
    "tiny sigmoid": (lambda: small.tiny(RGB, width=4), 3, SIGMOID),
    "lenet5": (lambda: small.lenet5(RGB), "fc1", None),
    "vgg11": (lambda: vgg.vgg11(RGB, dropout=0.5, init="default"), "pool2", None),
    "resnet20": (r20, "block6", None),
    "resnet20 bottleneck": (r20, "block5", {**C8, "activation": "batchnorm"}),
    "resnet20 stem": (r20, "stem", None),
    "resnet18": (lambda: resnet.resnet18(RGB, width=4), "block6", None),
    "resnet50": (lambda: pretrained.resnet50(RGB, weights="none"), "block2", None),
}


def prune(**changes: Any) -> Prune:
    return Prune(**(SETTINGS | changes))


def defended(name: str = "tiny", before: dict[str, Defense] | None = None, **changes: Any) -> Defended:
    """A net of `NETS` with BatchNorms that are not the identity, in evaluation mode, after the links of `before`."""
    torch.manual_seed(0)
    make, at, bottleneck = NETS[name]
    net = SplitNet(make(), RGB, at=at, bottleneck=bottleneck)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.bias.data, part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
    return Defended(net, {**(before or {}), "prune": prune(**changes)}, RGB).eval()


def link(model: Defended) -> Prune:
    return model.chain["prune"]  # type: ignore[return-value]


def scatter(model: Defended, share: float = 0.4) -> Tensor:
    """Masks of either sign, a `share` of them exactly zero: something of every layer, never all of it."""
    mask = link(model).mask
    values = torch.empty_like(mask).uniform_(0.5, 1.5) * torch.randint(0, 2, mask.shape).mul(2).sub(1)
    values[torch.rand(len(mask)) < share] = 0
    starts = torch.tensor(link(model).structures.starts, dtype=torch.long)
    values[starts], values[starts + 1] = 2.0, 0.0 if share else 1.0
    mask.data.copy_(values)
    return values


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def step(lr: float = 0.5) -> Step:
    x = images()
    return Step(x, torch.zeros(4, dtype=torch.long), {}, nn.Identity(), "prune", 0, 0.0, lr)


# ---- the soft masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "resnet20", "lenet5"])
def test_masks_start_at_one_beside_a_network_whose_names_do_not_change(name: str) -> None:
    model = defended(name)
    bare = SplitNet(NETS[name][0](), RGB, at=NETS[name][1], bottleneck=NETS[name][2])
    assert list(model.net.state_dict()) == list(bare.state_dict())
    bare.load_state_dict(model.net.state_dict())
    assert torch.equal(model(images()), bare.eval()(images()))
    assert {n for n, _ in link(model).named_parameters()} == {"mask"}
    assert torch.equal(link(model).mask, torch.ones(link(model).structures.total))
    scatter(model)
    assert not torch.allclose(model(images()), bare(images()), rtol=1e-2)


def test_a_mask_stands_behind_the_batchnorm_and_silences_exactly_its_channel() -> None:
    model = defended("tiny")
    link(model).mask.data[2] = 0
    site = model.net.edge.conv1.norm
    out = link(model)._soften(site, (), site(torch.rand(2, 4, 5, 5)), slice(0, 4))
    assert link(model).structures.sites["conv1.norm"] == slice(0, 4)
    assert not out[:, 2].any()
    assert out[:, [0, 1, 3]].all()


def test_structures_are_free_channels_and_identity_branches() -> None:
    names = ("tiny", "tiny bottleneck", "tiny sigmoid", "lenet5", "resnet20", "resnet18", "resnet50")
    with torch.device("meta"):  # as a config is checked
        found = {name: defended(name).chain["prune"].structures for name in names}
    convs = {name: [c.conv for c in s.layers] for name, s in found.items()}
    assert convs["tiny"] == ["conv1.conv", "conv2.conv"]
    assert [c.released for c in found["tiny"].layers] == [False, True]
    assert convs["tiny bottleneck"][-1] == "bottleneck.conv"
    assert convs["tiny sigmoid"] == ["conv1.conv", "conv2.conv", "conv3.conv"]  # sigmoid(0) is not 0
    assert [c.released for c in found["tiny sigmoid"].layers] == [False, False, False]
    assert convs["resnet20"] == [f"block{i}.conv1" for i in range(1, 7)]  # sums tie the others
    assert list(found["resnet20"].blocks) == ["block1", "block2", "block3", "block5", "block6"]
    assert list(found["resnet18"].blocks) == ["block1", "block2", "block4", "block6"]
    assert list(found["resnet50"].blocks) == ["block2"]
    assert {"block2.conv1", "block2.conv2"} <= set(convs["resnet50"])
    assert convs["lenet5"] == ["conv1.conv", "conv2.conv", "conv3.conv"]
    assert [c.conv for c in defended("tiny", release=False).chain["prune"].structures.layers] == ["conv1.conv"]


def test_the_proximal_step_is_a_soft_threshold_at_the_current_rate() -> None:
    model = defended("tiny", weight=0.4)
    link(model).mask.data[:4] = torch.tensor([1.0, 0.1, -0.3, 0.0])
    link(model).on_step_end(torch.empty(0), step(lr=0.5))
    torch.testing.assert_close(link(model).mask[:4].detach(), torch.tensor([0.8, 0.0, -0.1, 0.0]))
    assert link(model).penalty(torch.empty(0), step()) is None


def test_the_plain_penalty_is_lambda_times_the_sum_and_takes_no_proximal_step() -> None:
    model = defended("tiny", shrink="penalty", weight=0.25)
    link(model).mask.data[0] = -3.0
    value = link(model).penalty(torch.empty(0), step())
    assert value.item() == pytest.approx(0.25 * (3 + 11))
    value.backward()
    assert link(model).mask.grad[:2].tolist() == [-0.25, 0.25]
    before = link(model).mask.clone()
    link(model).on_step_end(torch.empty(0), step())
    assert torch.equal(link(model).mask, before)


def test_masks_learn_from_the_task() -> None:
    model = defended("resnet20")
    model(images()).square().sum().backward()
    assert (link(model).mask.grad != 0).float().mean() > 0.9


# ---- the removal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_masked_and_pruned_networks_agree(name: str) -> None:
    model = defended(name)
    values, x = scatter(model), images()
    with torch.no_grad():
        z, logits = model.release(x), model(x)
    structures = link(model).structures
    expected = structures.predicted(model.net, (values == 0).nonzero().flatten().tolist())
    link(model).on_phase_start(FINETUNE, model)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x), logits, rtol=1e-5, atol=1e-5 * logits.abs().max().item())
        after = model.release(x)
    kept, released = z, False
    for layer in structures.layers:
        if layer.released:
            kept, released = z[:, values[structures.sites[layer.site]] != 0], True
    assert released == (name in ("tiny", "tiny bottleneck", "vgg11", "resnet20 bottleneck"))
    torch.testing.assert_close(after, kept, rtol=1e-5, atol=1e-5 * z.abs().max().item())
    assert model.shape == tuple(after.shape[1:])
    facts = link(model).facts
    assert facts["parameters_after"] == expected == sum(p.numel() for p in model.net.edge.parameters())
    if structures.total:
        assert facts["parameters_after"] < facts["parameters_before"]
        assert facts["macs_after"] < facts["macs_before"]
    assert (facts["bytes_after"] < facts["bytes_before"]) == released
    assert link(model).mask is None and not list(link(model).parameters())
    assert not any(m._forward_hooks for m in model.net.modules())


def test_facts_say_what_was_saved() -> None:
    model = defended("tiny")
    scatter(model, 0.0)
    link(model).mask.data[[1, 5]] = torch.tensor([0.05, -0.09])
    link(model).on_phase_start(FINETUNE, model)
    facts = link(model).facts
    assert (facts["parameters_before"], facts["parameters_after"]) == (
        4 * 27 + 8 + 8 * 36 + 16,
        3 * 27 + 6 + 7 * 27 + 14,
    )
    assert facts["parameters_saved"] == pytest.approx(1 - 290 / 420)
    assert (facts["macs_before"], facts["macs_after"]) == (256 * 108 + 64 * 288, 256 * 81 + 64 * 189)
    assert (facts["bytes_before"], facts["bytes_after"]) == (4 * 8 * 64, 4 * 7 * 64)
    assert (facts["channels_removed"], facts["branches_removed"]) == (2, 0)
    assert facts["threshold"] == pytest.approx(0.09)


def test_skip_passes_whole_blocks_by_and_prunes_no_channel() -> None:
    """PATROL's baseline as we read it: of five blocks with a shortcut the two of the smallest masks go."""
    whole, model = defended("resnet20"), defended("resnet20", structures="blocks", by="quantile", amount=0.4)
    assert link(model).structures.total == 5 and not link(model).structures.layers
    link(model).mask.data.copy_(torch.tensor([1.0, -0.1, 0.9, 0.2, 1.1]))  # block1, 2, 3, 5, 6
    with torch.no_grad():
        for name, value in (("block1", 1.0), ("block2", 0.0), ("block3", 0.9), ("block5", 0.0), ("block6", 1.1)):
            norm = getattr(whole.net.edge, name).norm2
            norm.weight *= value
            norm.bias *= value
    link(model).on_phase_start(FINETUNE, model)
    assert [isinstance(getattr(model.net.edge, f"block{i}"), nn.ReLU) for i in (1, 2, 3, 5, 6)] == [0, 1, 0, 1, 0]
    facts = link(model).facts
    assert (facts["channels_removed"], facts["branches_removed"]) == (0, 2) and facts["parameters_saved"] > 0
    torch.testing.assert_close(model.net(images()), whole.net(images()), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match=r"\.structures: blocks, but no block .* backbone=resnet20"):
        defended("tiny", structures="blocks")


def test_a_dropped_branch_takes_its_channels_along() -> None:
    model = defended("resnet20")
    structures, x = link(model).structures, images()
    mask = link(model).mask.data
    mask[structures.sites["block2.norm2"]] = 0
    mask[structures.sites["block2.norm1"]][0] = 0
    with torch.no_grad():
        logits = model(x)
        link(model).on_phase_start(FINETUNE, model)
        torch.testing.assert_close(model.eval()(x), logits)
    assert isinstance(model.net.edge.block2, nn.ReLU)
    assert link(model).facts["branches_removed"] == 1
    assert link(model).facts["channels_removed"] == 0


@pytest.mark.parametrize("name", ["tiny", "resnet20", "vgg11"])
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.6])
def test_compression_takes_as_little_as_reaches_its_share(name: str, amount: float) -> None:
    model = defended(name, by="compression", amount=amount)
    link(model).mask.data.uniform_(0.1, 1.0)
    sizes = link(model).mask.detach().tolist()
    chosen = link(model)._choose(model, sizes)
    left = functools.partial(link(model).structures.predicted, model.net)
    assert chosen == link(model).structures.removable(sizes)[: len(chosen)]
    assert left(chosen) <= (1 - amount) * left(())
    assert not chosen or left(chosen[:-1]) > (1 - amount) * left(())
    link(model).on_phase_start(FINETUNE, model)
    assert link(model).facts["parameters_saved"] >= amount
    assert bool(chosen) == (amount > 0)


def test_quantile_takes_the_smallest_share_of_structures() -> None:
    model = defended("tiny", by="quantile", amount=0.25)
    link(model).mask.data.copy_(torch.tensor([0.9, -0.1, 0.8, 0.2, 0.7, 0.05, 0.6, 0.5, -0.4, 0.3, 1.0, 1.1]))
    link(model).on_phase_start(FINETUNE, model)
    assert model.net.edge.conv1.conv.out_channels == 2
    assert model.net.edge.conv2.conv.weight.shape == (7, 2, 3, 3)
    assert model.net.cloud.conv3.conv.in_channels == 7
    assert link(model).facts["threshold"] == pytest.approx(0.2)


@pytest.mark.parametrize("settings", [{"by": "compression", "amount": 0.999}, {"by": "quantile", "amount": 0.999},
                                      {"by": "threshold", "amount": 1e9}])  # fmt: skip
@pytest.mark.parametrize("name", ["tiny", "resnet18", "lenet5"])
def test_no_layer_is_left_without_channels(name: str, settings: Any) -> None:
    model = defended(name, **settings)
    link(model).mask.data.uniform_(0.1, 1.0)
    layers = [(c.conv, link(model).mask[link(model).structures.sites[c.site]]) for c in link(model).structures.layers]
    strongest = {conv: model.net.edge.get_submodule(conv).weight[int(m.argmax())].detach() for conv, m in layers}
    link(model).on_phase_start(FINETUNE, model)
    left = dict(model.net.edge.named_modules())
    assert all(m.out_channels >= 1 for m in left.values() if isinstance(m, nn.Conv2d))
    assert torch.isfinite(model.eval()(images())).all()
    if name != "resnet18":
        assert all(left[conv].out_channels == 1 for conv, _ in layers)
        direction = functools.partial(torch.nn.functional.cosine_similarity, dim=0)
        kept, was = left[layers[0][0]].weight.flatten(), strongest[layers[0][0]].flatten()
        assert direction(kept, was).item() == pytest.approx(1.0)


def test_only_fine_tuning_prunes_and_only_once() -> None:
    model = defended("tiny")
    scatter(model)
    for phase in ("fit", "prune"):
        link(model).on_phase_start(Phase(phase), model)
        assert link(model).mask is not None and not link(model).facts
    link(model).on_phase_start(FINETUNE, model)
    facts, state = link(model).facts, {k: v.clone() for k, v in model.state_dict().items()}
    link(model).on_phase_start(FINETUNE, model)
    link(model).on_step_end(torch.empty(0), step())
    assert link(model).penalty(torch.empty(0), step()) is None
    assert link(model).facts == facts
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_removal_follows_from_the_weights_and_draws_nothing() -> None:
    found = []
    for seed in (1, 2):
        model = defended("resnet20 bottleneck", by="compression", amount=0.4)
        scatter(model)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        link(model).on_phase_start(FINETUNE, model)
        assert torch.equal(before, torch.get_rng_state())
        found.append(model.state_dict())
    assert list(found[0]) == list(found[1])
    assert all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values(), strict=True))


# ---- the rest of the chain -----------------------------------------------------------------------------------------


def test_another_link_follows_the_smaller_z_with_what_it_has_learnt() -> None:
    net = functools.partial(conv, width=8, widest=8)
    adversary = Adversarial(net=net, weight=1.0, loss="mse", threshold=0.5, ceiling=None, inner_loss="mse",
                            padding="zero", lr=0.01, steps=1, warmup=0, start="seed")  # fmt: skip
    model = defended("tiny", {"noise": Noise(sigma=0.0), "adversarial": adversary})
    for parameter in adversary.parameters():
        parameter.data.uniform_(-0.2, 0.2)
    scatter(model)
    with torch.no_grad():
        before = adversary.decoder.frozen(model.release(images()))
        link(model).on_phase_start(FINETUNE, model)
        after = adversary.decoder.frozen(model.eval().release(images()))
    assert model.shape[0] < 8
    torch.testing.assert_close(after, before)
    assert adversary.adversary_loss(model.release(images()).detach(), step()).requires_grad


def test_what_does_not_fit_starts_afresh() -> None:
    new = nn.Sequential(nn.Linear(2 * 3, 4), nn.Conv2d(2, 5, 3), nn.Linear(7, 7))
    fresh = {k: v.clone() for k, v in new.state_dict().items()}
    old = nn.Sequential(nn.Linear(4 * 3, 4), nn.Conv2d(4, 5, 3), nn.Linear(6, 7)).state_dict()
    carry(old, new, [1, 3], 4)
    torch.testing.assert_close(new[0].weight, old["0.weight"][:, [3, 4, 5, 9, 10, 11]])
    torch.testing.assert_close(new[1].weight, old["1.weight"][:, [1, 3]])
    assert torch.equal(new[2].weight, fresh["2.weight"])
    assert torch.equal(new[2].bias, old["2.bias"])


# ---- phases and mistakes -------------------------------------------------------------------------------------------


def test_phases() -> None:
    names = [(p.name, p.epochs, p.idle) for p in prune(epochs=20).phases]
    assert names == [("fit", 0, True), ("prune", 0, False), ("finetune", 2, False)]
    assert prune(epochs=20).phases[-1].optim["schedule"]["T_max"] == 2
    assert [p.name for p in prune(pretrained=False).phases] == ["prune", "finetune"]
    assert prune(epochs=2).phases[-1].epochs == 1


def test_a_share_of_everything_is_refused() -> None:
    for by in ("quantile", "compression"):
        with pytest.raises(UserError, match=r"^\.amount: 1.0 is not a share below 1; .* by=threshold"):
            prune(by=by, amount=1.0)
    assert prune(by="threshold", amount=1.0).amount == 1.0


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    chain = {"mine": prune()}
    with pytest.raises(UserError, match=r"^defense\.mine: needs the package torch-pruning, .*splitpriv\[prune\]"):
        chain["mine"].validate(chain)


def test_tracing_leaves_the_network_as_it_is() -> None:
    model = defended("resnet20").train()
    model.net.edge.stem.eval()
    modes = [m.training for m in model.net.modules()]
    state = {k: v.clone() for k, v in model.net.state_dict().items()}
    pruning.trace(model.net, RGB.image)
    pruning.size(model.net, RGB.image)
    assert [m.training for m in model.net.modules()] == modes
    assert all(torch.equal(state[k], v) for k, v in model.net.state_dict().items())
    assert all(p.grad is None for p in model.net.parameters())


def test_weight_decay_does_not_shrink_the_masks() -> None:
    """Else a small λ_m, or none, would prune by the optimiser's decay."""
    from splitpriv import config
    from splitpriv.data.base import Split
    from splitpriv.run.fit import Job, SplitFit
    from splitpriv.run.parts import assemble, make_model

    cfg = config.compose(["defense=[prune]", "defense.prune.weight=0", "optim.optimizer.weight_decay=0.5"])
    parts = assemble(cfg)
    model = make_model(cfg, parts.dataset)
    empty = Split(torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.long), torch.arange(4))
    phase = next(p for p in parts.phases if p.name == "prune")
    groups = SplitFit(model, Job("k", phase, parts.optim, parts.dataset, parts.task, empty, empty)).main.param_groups
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay[id(model.chain["prune"].mask)] == 0.0
    assert decay[id(next(model.net.parameters()))] == 0.5
