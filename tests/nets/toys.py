"""Networks of all the shapes that a stranger's may have, small."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, **how: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **how)


class Plain(nn.Module):
    """Blocks with BatchNorm, dropout, in-place and functional operations between modules, and sizes asked."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList([nn.Sequential(conv(4, 4), nn.BatchNorm2d(4)) for _ in range(2)])
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        b, _, height, width = x.shape
        z = F.relu_(F.max_pool2d(self.stem(x), 2))
        for block in self.blocks:
            z = block(z)
            z += 1.0
            z = F.dropout(z, 0.5, self.training)
        z = F.interpolate(z, (height // 2, width // 2))
        z = F.adaptive_avg_pool2d(z, (4, 4)).view(b, -1)
        out: Tensor = self.head(self.drop(z))
        return out


class Skip(nn.Module):
    """A shortcut from the first layer to the last: nothing between them is a cut."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(3, 4), conv(4, 4), conv(4, 4)
        self.head = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        y = self.third(self.second(z).relu()) + z
        out: Tensor = self.head(y.mean((2, 3)))
        return out


class Pair(nn.Module):
    """A layer with two outputs, and one with two inputs; both are used as a whole."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.two, self.join = conv(3, 4), Two(), Join()
        self.last, self.head = conv(4, 4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor] | Tensor:
        left, right = self.two(self.first(x))
        z = self.last(self.join(left, other=right))
        out: Tensor = self.head(z.mean((2, 3)))
        return out


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(4, 2), conv(4, 2)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(z), self.b(z)


class Join(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = conv(4, 4)

    def forward(self, z: Tensor, other: Tensor) -> Tensor:
        out: Tensor = self.mix(torch.cat([z, other], 1))
        return out


class Sized(nn.Module):
    """Asks what torch.fx cannot answer, the size of an image, and torch.export can."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.norm = conv(3, 4), nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.first(x))
        if x.shape[-1] < 100:
            z = F.relu(z, inplace=True)
        z = self.drop(z)
        out: Tensor = self.head(z.mean((2, 3)))
        return out


class Deciding(nn.Module):
    """Decides by the values of a tensor, in its own forward or in one of its modules."""

    def __init__(self, classes: int = 4, inside: bool = False) -> None:
        super().__init__()
        self.first, self.inside = conv(3, 4), inside
        self.gate = Gate() if inside else nn.Identity()
        self.head = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.gate(self.first(x))
        if not self.inside and bool((z > 0).any()):
            z = z * 2
        out: Tensor = self.head(z.mean((2, 3)))
        return out


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 4)

    def forward(self, z: Tensor) -> Tensor:
        return self.conv(z) if z.is_meta or bool(z.mean() > -1e9) else z


class Tied(nn.Module):
    """The same layer at both ends: its weights belong to neither side."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.layer, self.act = conv(3, 4), conv(4, 4), nn.ReLU()
        self.other, self.head = conv(4, 4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.other(self.act(self.layer(self.first(x))))
        z = self.act(self.layer(z))
        out: Tensor = self.head(z.mean((2, 3)))
        return out


class Tokens(nn.Module):
    """Patches with a class token and positions: weights that no module holds."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)))
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        z = self.patch(F.interpolate(x, (8, 8))).flatten(2).transpose(1, 2)
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1) + self.position.to(z.dtype)
        out: Tensor = self.head(self.blocks(z)[:, 0])
        return out


class Answers(nn.Module):
    """Gives a tuple."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.head = conv(3, 4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Any:
        z = self.first(x)
        return self.head(z.mean((2, 3))), z


class Trained(nn.Module):
    """Gives one more output while it is trained, or decides by the values of a tensor then."""

    def __init__(self, decides: bool) -> None:
        super().__init__()
        self.first, self.second, self.head, self.decides = conv(3, 4), conv(4, 4), nn.Linear(4, 4), decides

    def forward(self, x: Tensor) -> Any:
        z = self.first(x)
        if self.training and self.decides and bool(z.mean() > 0):
            z = z * 2
        out = self.head(self.second(z).mean((2, 3)))
        return (out, z) if self.training and not self.decides else out
