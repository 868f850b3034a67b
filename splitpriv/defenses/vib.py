"""The variational information bottleneck at the split: the device sends a code close to N(0, I)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.parts.variational import Bottleneck, Reduction
from splitpriv.nets.gaussian_code import GaussianCode
from splitpriv.nets.layers import named
from splitpriv.stats.vib import kl_to_normal
from splitpriv.types import Count, Fraction, NonNegative, Shape, Spec, Step, UserError


class Vib(Bottleneck):
    """The device sends z ~ q(z|x) = N(μ, std²) instead of the feature (Alemi et al. 2017; at a split Zou et al. 2023;
    numbers of equations not at hand).

    Encoder: 1x1 convolution to 2·channels for feature maps, a linear layer for flat features and tokens, with a ReLU
    after it if `relu`; std = softplus(a − `shift`). `decoder`: two layers with ReLU in the cloud, back to the feature's
    channels. Raises UserError where the cloud would receive another shape, and for `channels` beside a defence that
    prunes.

    Open: on which side of the wire the code is drawn; drawn by the server, as one placement of Zou et al. has it, it
    protects nothing that was sent. Their encoder is one linear layer of the flat feature, whose size ours avoids. β
    depends on the entries that the KL sums over.
    """

    strength: ClassVar[Mapping[str, str]] = {"beta": "tag(log, interval(1e-6, 0.1))"}

    def __init__(self, *, beta: NonNegative, kl_reduction: Reduction, channels: Count | None, shift: float, relu: bool,
                 decoder: bool, sample_at_test: bool, warmup: Fraction) -> None:  # fmt: skip
        super().__init__(beta, kl_reduction, warmup, sample_at_test)
        self.channels, self.shift, self.relu = channels, shift, relu
        self.decoder, self.sample_at_test = decoder, sample_at_test

    def validate(self, chain: Mapping[str, Defense]) -> None:
        super().validate(chain)
        phased = [name for name, link in chain.items() if link.phases]
        if self.channels is not None and phased:
            raise UserError(f".channels: {phased[0]} prunes the network between its phases, for which the cloud must "
                            "read z as the edge makes it; set channels=null")  # fmt: skip

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        dim = 1 if len(shape) == 3 else -1
        inputs = shape[0] if dim == 1 else shape[-1]
        channels = self.channels or inputs
        if channels != inputs and not self.decoder:
            raise UserError(f"defense.vib.channels: the cloud wants {inputs} channels, not {channels}; "
                            "set defense.vib.decoder=true, or channels=null")  # fmt: skip
        self.size = torch.Size(shape).numel() // inputs * channels

        def layer(a: int, b: int) -> nn.Module:
            return nn.Conv2d(a, b, 1) if dim == 1 else nn.Linear(a, b)

        encode = layer(inputs, 2 * channels)
        if self.relu:
            encode = named(layer=encode, act=nn.ReLU())
        self.code = GaussianCode(encode, dim, self.shift, self.sample_at_test)
        if self.decoder:
            back = named(first=layer(channels, channels), act1=nn.ReLU(), last=layer(channels, inputs), act2=nn.ReLU())
            model.net.cloud = nn.Sequential(OrderedDict([("decode", back), *model.net.cloud.named_children()]))

    def after_edge(self, z: Tensor) -> Tensor:
        return self.code(z)

    def sampling(self, on: bool) -> bool:
        assert self.code is not None
        self.code.sample_at_test = on
        return True

    def expected(self, z: Tensor) -> Tensor:
        return self.code.moments(z)[0]

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        return self.weigh(kl_to_normal(*self.code.moments(z)), step)
