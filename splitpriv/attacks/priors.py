"""Priors that the adversary learns from his own images, once for a data set, whatever the chain under attack is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from splitpriv import host
from splitpriv.attacks.base import Access
from splitpriv.attacks.training import Stop, Training, average, cosine, learn, losses, shares
from splitpriv.nets.image_priors import Denoiser, Vae
from splitpriv.store import state
from splitpriv.types import Count, NonNegative, Positive

WEIGHTS = "prior.safetensors"
STOP = Stop(0.1, None, "best", 0.02)


class Prior:
    """A net that learns from aux's images alone. Subclasses give `fresh` and `loss`; settings are plain values, which
    name the stage in the store where every chain finds the trained net."""

    def __init__(self, *, epochs: Count, batch: Count, lr: Positive, **settings: Any) -> None:
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.what = {"prior": type(self).__name__, "epochs": epochs, "batch": batch, "lr": lr, **settings}

    def fresh(self, access: Access) -> nn.Module:
        """The untrained net."""
        raise NotImplementedError

    def loss(self, net: nn.Module, x: Tensor) -> Tensor:
        """What it descends on images x (N, C, H, W), a scalar."""
        raise NotImplementedError

    def learned(self, access: Access, home: Path) -> nn.Module:
        """The trained net in evaluation mode, frozen; trained at its first use."""
        built: list[nn.Module] = []
        folder = access.share(self.what, lambda path: built.append(self._train(access, path)), home)
        if built:
            net = built[0]
        else:
            with access.device:
                net = self.fresh(access)
            net.load_state_dict(state.load_tensors(folder / WEIGHTS))
        return net.eval().requires_grad_(False)

    def _train(self, access: Access, home: Path) -> nn.Module:
        apart, rest = shares(access, home.name, STOP.held)
        with access.device:
            net, best = self.fresh(access), self.fresh(access)
        optimizer = torch.optim.Adam(net.parameters(), self.lr, fused=True)

        def of(part: Tensor) -> Tensor:
            return self.loss(net, access.aux.split.x(part))

        def epoch(index: int) -> dict[str, Tensor]:
            cosine(optimizer, self.lr, 0.01 * self.lr, index / self.epochs)
            train = learn(net, optimizer, rest, self.batch, of)
            return losses(train, apart, lambda held: average(net, held, self.batch, of))

        training = Training("prior", home / "last.pt", home.name, self.epochs, STOP)
        training.run(net, best, {"optimizer": optimizer}, epoch)
        state.save_tensors(home / WEIGHTS, best.state_dict())
        return best


class DenoiserPrior(Prior):
    """A small U-Net that removes Gaussian noise of any standard deviation between `least` and `most`, in MSE.

    A stand-in for the large denoisers and diffusion models of the literature, of the size that aux can feed.
    """

    def __init__(self, *, width: Count, depth: Count, least: Positive, most: Positive, epochs: Count, batch: Count,
                 lr: Positive) -> None:  # fmt: skip
        super().__init__(width=width, depth=depth, least=least, most=most, epochs=epochs, batch=batch, lr=lr)
        self.width, self.depth, self.least, self.most = width, depth, least, most

    def fresh(self, access: Access) -> Denoiser:
        return Denoiser(access.spec.image, self.width, self.depth)

    def loss(self, net: nn.Module, x: Tensor) -> Tensor:
        sigma = self.least * (self.most / self.least) ** torch.rand(len(x), device=x.device)
        noise = torch.randn_like(x)
        error = (net(x + sigma.view(-1, 1, 1, 1) * noise, sigma) - x) / sigma.view(-1, 1, 1, 1)
        return error.square().mean()


class VaePrior(Prior):
    """A small variational autoencoder of codes of `size` values; `beta` weighs the KL against the squared error, which
    counts as that of a Gaussian of standard deviation `spread`.

    A stand-in for the generators (GANs) of GMI, PPA and GLASS, of the size that aux can feed.
    """

    def __init__(self, *, width: Count, size: Count, beta: NonNegative, spread: Positive, epochs: Count, batch: Count,
                 lr: Positive) -> None:  # fmt: skip
        super().__init__(width=width, size=size, beta=beta, spread=spread, epochs=epochs, batch=batch, lr=lr)
        self.width, self.size, self.beta, self.spread = width, size, beta, spread

    def fresh(self, access: Access) -> Vae:
        return Vae(access.spec.image, self.width, self.size)

    def loss(self, net: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(net, Vae)
        mean, log_std = net.encode(x)
        code = mean + log_std.exp() * torch.randn_like(mean)
        error = (net.decode(code) - x).square().flatten(1).sum(1) / (2 * self.spread**2)
        kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)
        return (error + self.beta * kl).mean() / x[0].numel()


@torch.no_grad()
def noise_power(access: Access, index: Tensor, draws: int) -> float:
    """Mean square, per value, of a release less its mean: what the true image's own distance is, from aux."""
    gap = access.aux.release(index, draws).float() - access.expected(access.aux.split.x(index))
    return host.to_host(gap.square().mean()[None])[0]
