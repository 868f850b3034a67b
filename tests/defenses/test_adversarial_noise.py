"""Adversarial noise: within its bound, away from what the decoder knows, and no wall for gradients."""

from __future__ import annotations

import torch
from test_defense_configs import settings
from torch.utils.flop_counter import FlopCounterMode

from splitpriv.contract.defenses import images, step_of, trained


def test_it_leads_its_decoder_to_the_mean_image_within_epsilon_and_passes_gradients() -> None:
    torch.manual_seed(0)
    target = trained(settings("adversarial_noise")).model.eval()
    defense, data = target.chain["adversarial_noise"], images()
    optimizer = defense.adversary_optimizer()
    z = target.features(data.images).detach()
    for _ in range(30):
        optimizer.zero_grad()
        defense.adversary_loss(z, step_of(target, data)).backward()
        optimizer.step()
    free = z.clone().requires_grad_()
    release = defense.after_edge(free)
    assert (release - z).abs().max() <= 0.1 + 1e-6
    assert ((release - z).abs() > 0.099).float().mean() > 0.5
    with torch.no_grad():
        far = [(defense.decoder.frozen(v) - defense.centre).square().mean() for v in (z, release)]
    assert far[1] < far[0]
    assert torch.equal(torch.autograd.grad(release.sum(), free)[0], torch.ones_like(z))
    with torch.no_grad():
        assert torch.equal(target.release(data.images), target.release(data.images))  # a known function of z
        alone = torch.cat([target.release(x[None]) for x in data.images[:3]])
        assert torch.allclose(alone, target.release(data.images)[:3], atol=1e-6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():  # as the cost of the edge is counted
        target.release(data.images)
    assert counter.get_total_flops() > 0
    assert all(p.grad is None or not p.grad.isnan().any() for p in defense.parameters())
