"""The cloud's answers in a training step, for penalties that look at them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from splitpriv.defenses.base import Defended


class Answers:
    """Remembers the logits (N, classes), with their gradient, that the cloud last gave while it trained."""

    logits: Tensor | None = None
    _ear: RemovableHandle | None = None

    def __init__(self, model: Defended) -> None:
        self.model = model
        self.listen()

    def listen(self) -> None:
        """From now on, to the head that the cloud has by now: links that were attached later may have changed it."""
        self.forget()
        if self._ear is not None:
            self._ear.remove()
        self._ear = self.model.net.cloud[-1].register_forward_hook(self._remember)

    def _remember(self, head: nn.Module, given: Any, logits: Tensor) -> None:
        if head.training:
            self.logits = logits

    def take(self, z: Tensor) -> Tensor:
        """Those logits, once; where the cloud has given none, those of z as if it were released as it stands."""
        logits = self.model.classify(z) if self.logits is None else self.logits
        self.forget()
        return logits.float()

    def forget(self) -> None:
        self.logits = None
