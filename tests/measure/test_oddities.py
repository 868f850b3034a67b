"""Defences that mislead attacks without protecting anything: each raises its flag, and sound ones raise none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from shipped import composed
from torch import Tensor, nn

from splitpriv.data.gaussian import Gaussian
from splitpriv.defenses.base import Defended, Defense
from splitpriv.defenses.dropout import Dropout
from splitpriv.defenses.noise import Noise
from splitpriv.defenses.parts.aside import reseeds
from splitpriv.defenses.parts.sight import hides
from splitpriv.defenses.quantize import Quantize
from splitpriv.defenses.topk import TopK
from splitpriv.measure.checks import Facts, doubts
from splitpriv.measure.oddities import oddities
from splitpriv.run.parts import make_model
from splitpriv.types import Spec

FLOORS: dict[str, Any] = {"mean_image": {"mse": 0.08}, "random_image": {"mse": 0.15}}
X = torch.randint(256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
DATASET = Gaussian(size=8, samples=8, std=0.1, length=2.0, nugget=0.01, test_share=0.5, seed=0, crop=0, flip=False,
                   rotation=0)  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.edge, self.cloud = nn.Conv2d(1, 4, 3), nn.Identity()


class Rounded(Defense):
    """Rounds without a straight-through gradient."""

    def after_edge(self, z: Tensor) -> Tensor:
        return (8 * z).round() / 8


class Faint(Defense):
    """Rounds with a gradient that is there and says nothing."""

    def after_edge(self, z: Tensor) -> Tensor:
        return (8 * z).round() / 8 + 1e-5 * z


class Cut(Defense):
    """Cuts the graph; a constant keeps a gradient of nothing."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z.detach() + 0 * z


class Pedestal(Defense):
    """Everything there, on a pedestal."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 100 + 1e-3 * z


class Squeezed(Defense):
    """Everything there, in a narrow range."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 0.5 + 1e-5 * z.tanh()


class Blown(Defense):
    """Everything there, huge."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 1e6 * z


class Shrunk(Defense):
    """Everything there, tiny."""

    def after_edge(self, z: Tensor) -> Tensor:
        return 1e-5 * z


class Drifting(Defense):
    """Adds what it has seen so far."""

    def attach(self, model: Defended, spec: Spec, shape: tuple[int, ...]) -> None:
        self.register_buffer("seen", torch.zeros(shape))

    def after_edge(self, z: Tensor) -> Tensor:
        self.seen = 0.9 * self.seen + 0.1 * z.detach().mean(0)
        return z + self.seen


class EveryThird(Defense):
    """Lies to every third query."""

    asked = 0

    def after_edge(self, z: Tensor) -> Tensor:
        self.asked += 1
        return z.flip(1) if self.asked % 3 == 0 else z


class Wearing(Defense):
    """Answers less and less truly."""

    asked = 0

    def after_edge(self, z: Tensor) -> Tensor:
        self.asked += 1
        return z if self.asked < 12 else z.flip(1)


class Alarmed(Defense):
    """Has seen a white image once, and is on its guard."""

    seen = False

    def before_edge(self, x: Tensor) -> Tensor:
        self.seen = self.seen or bool((x.flatten(1).mean(1) > 0.9).any())
        return x

    def after_edge(self, z: Tensor) -> Tensor:
        return -z if self.seen else z


class Hashed(Defense):
    """Noise drawn from the image itself: repeated releases are the same, and averages help nobody."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 0.3 * torch.stack([self.noise(one) for one in z])

    def noise(self, one: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(hash(one.detach().numpy().tobytes()))
        return torch.randn(one.shape, generator=rng)


class Remembering(Hashed):
    """Draws the noise of an image once and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[bytes, Tensor] = {}

    def noise(self, one: Tensor) -> Tensor:
        return self.known.setdefault(one.detach().numpy().tobytes(), torch.randn(one.shape))


class Pattern(Defense):
    """One pattern of noise for each place in a batch, the same on every call."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))


class Bulk(Defense):
    """Sends something else of many images than of few."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z if len(z) > 3 else z.flip(1)


class OneForAll(Defense):
    """Adds one draw to all images of a batch."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 0.3 * torch.randn_like(z[:1])

    def expected(self, z: Tensor) -> Tensor:
        return z


class Reseeding(Defense):
    """Seeds torch, so that its noise repeats, and all that others draw."""

    def after_edge(self, z: Tensor) -> Tensor:
        torch.manual_seed(0)
        return z + 0.3 * torch.randn(z.shape[1:])


class Soft(Defense):
    """Is soft where gradients are recorded and hard where not."""

    def after_edge(self, z: Tensor) -> Tensor:
        return (8 * z).tanh() if torch.is_grad_enabled() else z.sign()


class EightBit(Defense):
    """Answers only what a file can hold; of every other image, noise."""

    def before_edge(self, x: Tensor) -> Tensor:
        whole = ((255 * x).round() - 255 * x).abs().flatten(1).amax(1) < 1e-9
        return torch.where(whole.view(-1, 1, 1, 1), x, 1 - x)


class OneChannel(Defense):
    """Lets a gradient through one of four channels."""

    def after_edge(self, z: Tensor) -> Tensor:
        return torch.cat([z[:, :1], (8 * z[:, 1:]).detach().round() / 8], 1)


class Silent(Defense):
    """Sends z, and says that on average it sends next to nothing."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z + 0.1 * torch.randn_like(z)

    def expected(self, z: Tensor) -> Tensor:
        return 1e-9 * z


class Signs(Defense):
    """Turns the sign of an image's release at random, and does not say so."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z * (2 * torch.randint(2, (len(z), 1, 1, 1)) - 1)


class Scattered(Defense):
    """Sends all entries, in one order that is no image's."""

    def after_edge(self, z: Tensor) -> Tensor:
        order = torch.randperm(z[0].numel(), generator=torch.Generator().manual_seed(0))
        return z.flatten(1)[:, order].view(z.shape)


class Turned(Defense):
    """Sends a map by columns, upside down: neighbours stay neighbours."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z.transpose(2, 3).flip(2)


class Crowd(Defense):
    """Takes away what all images of a batch share."""

    def after_edge(self, z: Tensor) -> Tensor:
        return z - z.mean(0)


def found(*chain: Defense) -> dict[str, float]:
    torch.manual_seed(0)
    net: Any = Net()
    model = Defended(net, {f"d{i}": link for i, link in enumerate(chain)}, Spec((1, 8, 8), 2)).eval()
    before = torch.get_rng_state()
    release = oddities(model.requires_grad_(False), X, lambda r: r)
    assert torch.equal(torch.get_rng_state(), before)
    return release


def kinds(release: dict[str, float], **changed: Any) -> list[str]:
    attacks = {"a": Facts({"mse": 0.02}), "b": Facts({"mse": 0.02})}
    return [flag.kind for flag in doubts(attacks, **FLOORS, release=release, **changed)]


@pytest.mark.parametrize(
    ("toy", "kind"),
    [
        (Rounded, "gradient"),
        (Faint, "gradient"),
        (Cut, "gradient"),
        (Pedestal, "still"),
        (Squeezed, "still"),
        (Shrunk, "scale"),
        (Blown, "scale"),
        (Drifting, "state"),
        (EveryThird, "state"),
        (Wearing, "state"),
        (Alarmed, "state"),
        (Hashed, "state"),
        (Remembering, "state"),
        (Crowd, "state"),
        (Pattern, "state"),
        (Bulk, "state"),
        (OneForAll, "state"),
        (Reseeding, "state"),
        (Soft, "state"),
        (EightBit, "state"),
        (OneChannel, "gradient"),
        (Silent, "misstated"),
        (Signs, "misstated"),
        (Scattered, "scattered"),
    ],
)
def test_every_toy_trips_its_flag_and_no_other(toy: type[Defense], kind: str) -> None:
    assert set(kinds(found(toy()))) == {kind}


@pytest.mark.parametrize(
    "chain",
    [(), (Noise(sigma=0.1),), (Dropout(rate=0.5),), (Quantize(bits=3, lo=None, hi=None),),
     (TopK(keep=0.3, by="value", scope="sample"), Noise(sigma=0.1)), (Turned(),)],
)  # fmt: skip
def test_honest_chains_trip_none(chain: tuple[Defense, ...]) -> None:
    assert kinds(found(*chain)) == []


@pytest.mark.parametrize("name", ["adversarial_noise", "cloak", "codec", "complex_valued", "disco", "dual_path", "ldp",
                                  "mixup", "null_space", "shredder", "sparse_coding", "token_drop", "token_shuffle",
                                  "two_servers", "vib"])  # fmt: skip
def test_shipped_defences_are_none_of_it(name: str) -> None:
    torch.manual_seed(0)
    model = make_model(composed(f"defense=[{name}]"), DATASET).eval().requires_grad_(False)
    read = None if any(map(hides, model.chain.values())) else (lambda r: r)
    assert not {*kinds(oddities(model, torch.rand(64, 1, 8, 8), read))} - {"still"}  # as untrained ones are


def test_what_a_release_that_seeds_torch_draws_is_kept_apart_from_all_else() -> None:
    model = Defended(Net(), {"d": Reseeding()}, Spec((1, 8, 8), 2)).eval()  # type: ignore[arg-type]
    assert reseeds(lambda: model.release(X)) and not reseeds(lambda: torch.rand(3))
    model.reseeds = True
    torch.manual_seed(1)
    wanted = torch.rand(2, 3)
    torch.manual_seed(1)
    first = torch.rand(3)
    model.release(X)
    assert torch.equal(torch.stack([first, torch.rand(3)]), wanted)


def test_a_share_of_the_whole_batch_depends_on_company() -> None:
    assert set(kinds(found(TopK(keep=0.3, by="value", scope="batch")))) == {"state"}


def test_a_release_without_the_image_is_constant_and_no_more() -> None:
    class Nothing(Defense):
        def after_edge(self, z: Tensor) -> Tensor:
            return torch.zeros_like(z)

    assert kinds(found(Nothing()), signal=0.0) == ["constant"]


def test_an_attack_that_lacks_images_is_starved() -> None:
    attacks = {"a": Facts({"mse": 0.02}, gain=0.2), "b": Facts({"mse": 0.02}, gain=0.01)}
    flags = doubts(attacks, **FLOORS)
    assert [(flag.kind, flag.subject) for flag in flags] == [("starved", "a")]
    assert "20%" in flags[0].text and not flags[0].remedy
    flags = doubts(attacks, **FLOORS, spare=lambda times: f"protocol.limit.aux={400 * times}")
    assert flags[0].remedy == "protocol.limit.aux=800"
