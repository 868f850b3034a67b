"""MID: mutual-information regularisation of the prediction, by a variational bottleneck at the last layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from splitpriv.defenses.base import Defended
from splitpriv.defenses.parts.variational import Bottleneck, Reduction
from splitpriv.nets.gaussian_code import GaussianCode
from splitpriv.stats.vib import kl_to_normal
from splitpriv.types import Count, Fraction, NonNegative, Phase, Shape, Spec, Step, UserError


class Head(nn.Module):
    """F features to K logits through a code of k: Linear F -> 2k, a draw, Linear k -> K.

    `kl` (N, k) is that of the last training pass, or of the last pass while `watched`.
    """

    def __init__(self, features: int, size: int, classes: int, shift: float, sample_at_test: bool) -> None:
        super().__init__()
        self.code = GaussianCode(nn.Linear(features, 2 * size), -1, shift, sample_at_test)
        self.decode = nn.Linear(size, classes)
        self.watched = False
        self.kl: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        mean, std = self.code.moments(h)
        if self.training or self.watched:
            self.kl = kl_to_normal(mean, std)
        return self.decode(self.code.draw(mean, std))


class Mid(Bottleneck):
    """L = CE(Ŷ, y) + β·KL: the cloud's last linear layer becomes Linear F -> 2k, z = μ + softplus(a − shift)·ε, Linear
    k -> K. What the KL bounds is I(X; Z), which is at least the I(X; Ŷ) that the paper regularises,
    min E[L(y, f(x))] + λ·I(X; Ŷ), β being λ (numbers of equations not at hand).

    `size` is k; null: F // 2. The release does not change; what changes, and is drawn afresh, is what the server
    answers to it: only who observes answers can gain by averaging them. Raises UserError where the cloud does not end
    in a linear layer.

    Open: of a deterministic Ŷ the information is H(Ŷ) or infinite, so that every class of models needs its own
    approximation; that of networks is published as code alone. There β depends on k, as the KL is a sum over it, and
    answers are drawn at test, too, but asked for once, which flatters it.

    Source: Wang, Zhang, Jia, Improving Robustness to Model Inversion Attacks via Mutual Information Regularization,
    AAAI 2021 (arXiv 2009.05241), and their code.
    """

    adaptive = frozenset({"answers", "network"})

    strength: ClassVar[Mapping[str, str]] = {"beta": "tag(log, interval(1e-4, 1.0))"}

    def __init__(self, *, beta: NonNegative, kl_reduction: Reduction, size: Count | None, shift: float,
                 sample_at_test: bool, warmup: Fraction) -> None:  # fmt: skip
        super().__init__(beta, kl_reduction, warmup, sample_at_test)
        self.adaptive = self.adaptive | {"network"}  # type: ignore[misc]
        self.wanted, self.shift, self.sample_at_test = size, shift, sample_at_test
        self._server: tuple[Head, Defended] | None = None  # in a tuple: they are not parts of this module

    def attach(self, model: Defended, spec: Spec, shape: Shape) -> None:
        name, last = list(model.net.cloud.named_modules())[-1]
        if not isinstance(last, nn.Linear):
            raise UserError(f"defense.mid: replaces a last linear layer, but the cloud ends in {type(last).__name__}; "
                            "use another backbone, or vib")  # fmt: skip
        self.size = self.wanted or max(1, last.in_features // 2)
        head = Head(last.in_features, self.size, last.out_features, self.shift, self.sample_at_test)
        model.net.cloud.set_submodule(name, head)
        self._server = head, model

    def on_phase_start(self, phase: Phase, model: Defended) -> None:
        self._forget()

    def sampling(self, on: bool) -> bool:
        assert self._server is not None
        self._server[0].code.sample_at_test = on
        return True

    def penalty(self, z: Tensor, step: Step) -> Tensor:
        assert self._server is not None
        head, model = self._server
        if head.kl is None:  # the cloud has not answered yet: ask it, as if z were released as it stands
            head.watched = True
            model.classify(z)
            head.watched = False
        assert head.kl is not None
        kl, head.kl = head.kl, None
        return self.weigh(kl, step)

    def on_step_end(self, z: Tensor, step: Step) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._server is not None:
            self._server[0].kl = None
