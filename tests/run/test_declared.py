"""What parts say of themselves and give back is held against what reads it: most would end in a traceback."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from splitpriv.attacks.base import Attack, Reconstructor
from splitpriv.data.base import Dataset, Split
from splitpriv.defenses.parts.held import logits
from splitpriv.nets.split import Backbone, SplitNet
from splitpriv.run import declared, recovered
from splitpriv.tasks.base import Task, answered, ordered, placed
from splitpriv.tasks.classify import Classify
from splitpriv.track.base import Tracker
from splitpriv.types import Spec, UserError, blame

SPEC = Spec((1, 4, 4), 3, {"side": 2})


def refused(told: str, call: Any, *args: Any, **settings: Any) -> None:
    with pytest.raises(UserError) as error, blame("attack.own"):
        call(*args, **settings)
    assert told in str(error.value), str(error.value)


def says(kind: type, **said: Any) -> Any:
    """A part of a kind that says something of itself."""
    made = type("Own", (kind,), said)
    return made(patience=1.0) if issubclass(made, Tracker) else made()


# ---- what they say --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "told"), [
    ({"requires": frozenset({"query", "oracle"})}, "requires is frozenset("),
    ({"requires": "query"}, "requires is 'query'"),
    ({"recovers": "images"}, "recovers is 'images'; make it one of image, attribute, identity"),
    ({"observe": "softmx"}, "observe is 'softmx'"), ({"draws": 0}, "draws is 0; make it a whole number of at least 1"),
    ({"draws": 1.5}, "draws is 1.5"), ({"eot": None}, "eot is None"), ({"draws": "two"}, "draws is 'two'"),
    ({"adapts": "draws"}, "adapts is 'draws'; make it a frozenset of some of draws, "),
])  # fmt: skip
def test_an_attack_that_says_what_nobody_knows(said: dict[str, Any], told: str) -> None:
    refused(f"attack.own: {told}", declared.parts, says(Attack, **said), "attack.own")


@pytest.mark.parametrize(("said", "told"), [
    ({}, "spec is None; make it a splitpriv.types.Spec"), ({"spec": {"classes": 3}}, "spec is {'classes': 3}"),
    ({"spec": SPEC, "crop": None}, "crop is None"), ({"spec": SPEC, "rotation": "ten"}, "rotation is 'ten'"),
    ({"spec": SPEC, "flip": "no"}, "flip is 'no'; make it true or false"),
])  # fmt: skip
def test_a_data_set_that_says_nothing(said: dict[str, Any], told: str) -> None:
    refused(f"dataset: {told}", declared.parts, says(Dataset, **said), "dataset")


def test_a_tracker_without_patience() -> None:
    tracker = says(Tracker)
    assert declared.parts(tracker, "track.own") is tracker
    tracker.patience = "long"
    refused("track.own: patience is 'long'; make it seconds", declared.parts, tracker, "track.own")


@pytest.mark.parametrize(("fields", "told"), [
    (((4, 4), 3), "image: is (4, 4); make it (channels, height, width)"), (((1, 4, 4.0), 3), "image: is"),
    (((1, 4, 4), 0), "classes: is 0"), (((1, 4, 4), 3.0), "classes: is 3.0"),
    (((1, 4, 4), 3, ["side"]), "attributes: is ['side']"), (((1, 4, 4), 3, {"side": "lr"}), "attributes: is"),
    (((3, 4, 4), 3, {}, (0.5, 0.5)), "mean: is (0.5, 0.5)"), (((1, 4, 4), 3, {}, (120.0,)), "mean: is (120.0,)"),
    (((1, 4, 4), 3, {}, (0.5,), (0.0,)), "std: is (0.0,)"),
])  # fmt: skip
def test_a_spec_that_no_image_fits(fields: tuple[Any, ...], told: str) -> None:
    refused(f"attack.own.spec.{told}", Spec, *fields)


# ---- what a data set reads ------------------------------------------------------------------------------------------


def pool(**other: Any) -> Split:
    whole = {"images": torch.rand(6, 1, 4, 4), "y": torch.arange(6) % 3, "ids": torch.arange(6),
             "attributes": {"side": torch.arange(6) % 2}}  # fmt: skip
    return Split(**{**whole, **other})


READ: list[tuple[Any, str]] = [
    (None, "dataset: Own.pools: gives a NoneType; return"), ({"train": pool()}, "gives a dict of train; return"),
    (pool(images=torch.rand(6, 3, 4, 4)), "train: images are (6, 3, 4, 4)"),
    (pool(images=torch.rand(5, 1, 4, 4)), "train: images are (5, 1, 4, 4) in torch.float32 of 6 labels"),
    (pool(images=torch.rand(6, 1, 4, 4).double()), "in torch.float64"), (pool(images=[0] * 6), "images are a list"),
    (pool(images=255 * torch.ones(6, 1, 4, 4)), "train: images reach from 255 to 255; bring them to [0, 1]"),
    (pool(images=torch.full((6, 1, 4, 4), math.nan)), "images reach from nan to nan"),
    (pool(images=torch.rand(6, 1, 4, 4).requires_grad_()), "and detached"),
    (pool(y=torch.arange(6) % 3 + 1), "train: values of y reach from 1 to 3, and the spec has 3 values"),
    (pool(y=torch.arange(6.0)), "values of y are (6,) in torch.float32"), (pool(y=[0] * 6), "values of y are a list"),
    (pool(ids=torch.arange(5)), "values of ids are (5,)"), (pool(attributes={}), "train lacks side"),
    (pool(attributes=None), "train lacks side"),
    (pool(attributes={"side": torch.full((6,), 2)}), "values of side reach from 2 to 2"),
    ((1, 2), "gives a tuple as train"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "told"), READ, ids=[told[:30] for _, told in READ])
def test_what_is_read_fits_the_spec(made: Any, told: str, tmp_path: Any) -> None:
    pools = made if made is None or isinstance(made, dict) else {"train": made, "test": pool()}
    refused(told, says(Dataset, spec=SPEC, pools=lambda self, root: pools).read, tmp_path)


def test_what_is_right_is_read_and_classes_have_names(tmp_path: Any) -> None:
    pools = {"train": pool(), "test": pool(images=torch.zeros(6, 1, 4, 4, dtype=torch.uint8))}
    given = {"spec": SPEC, "pools": lambda self, root: pools}
    assert says(Dataset, **given).read(tmp_path) is pools
    refused("Own.label gives 0; return a text", says(Dataset, **given, label=lambda self, y: y).read, tmp_path)


# ---- what an attack gives back --------------------------------------------------------------------------------------


def made_of(kind: str, found: Any) -> dict[str, Tensor]:
    return recovered.everything(says(Attack, recovers=kind), found, 6, SPEC)


IMAGES = torch.rand(6, 1, 4, 4)
GIVEN: list[tuple[str, Any, str]] = [
    ("image", IMAGES, 'attack.own: everything is a Tensor; return a dict with the answer under ""'),
    ("image", {"member": IMAGES}, "everything has 'member'"), ("image", {"": IMAGES, "a/b": IMAGES}, "a member 'a/b'"),
    ("image", {"": IMAGES, "m": IMAGES[:, 0]}, "m makes (6, 4, 4)"), ("image", {"": None}, "forward makes a NoneType"),
    ("image", {"": IMAGES[:5]}, "forward makes (5, 1, 4, 4) in torch.float32 of 6 releases; return images (6, "),
    ("image", {"": (255 * IMAGES).byte()}, "in torch.uint8"), ("image", {"": 2 * IMAGES + 1}, "bring them to [0, 1]"),
    ("attribute", {"": torch.rand(6, 4)}, "return logits (6, 3)"), ("attribute", {"": torch.rand(6)}, "makes (6,)"),
    ("attribute", {"": torch.full((6, 3), math.nan)}, "forward makes NaN or infinite values"),
    ("identity", {"": torch.rand(6)}, "return embeddings (6, E)"), ("identity", {"": IMAGES}, "makes (6, 1, 4, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "found", "told"), GIVEN, ids=[told[:30] for _, _, told in GIVEN])
def test_what_is_recovered_is_what_it_was_to_be(kind: str, found: Any, told: str) -> None:
    refused(told, made_of, kind, found)


def test_what_is_right_is_kept() -> None:
    for kind, found in {"image": IMAGES.double(), "attribute": torch.rand(6, 3), "identity": torch.rand(6, 9)}.items():
        assert made_of(kind, {"": found, "member": found})[""] is found
    law = Spec((1, 4, 4), 3, entropy=1.0)  # whose images may leave [0, 1]
    recovered.everything(says(Attack), {"": 2 * IMAGES}, 6, law)


def test_what_a_fit_returns_and_reports() -> None:
    refused("attack.own: fit returns a Linear; return a splitpriv", recovered.reconstructor, nn.Linear(1, 1))
    made = Reconstructor()
    refused("Reconstructor.report is no dict", recovered.reconstructor, made)
    made.report = {}
    assert recovered.reconstructor(made) is made
    made.enrol = 3  # type: ignore[assignment]
    refused("enrol is 3", recovered.reconstructor, made)
    refused("enrol makes (6, 2) of 6 images; return (6, 3)", recovered.gallery, [torch.rand(6, 2)], torch.rand(6, 3))
    refused("report cannot be written", recovered.report, Attack(), {"loss": torch.ones(2)})
    refused("converged is 'maybe'", recovered.report, Attack(), {"converged": "maybe"})
    refused("gain_from_twice_aux is 'lots'", recovered.report, Attack(), {"gain_from_twice_aux": "lots"})
    refused("report has no select_mse", recovered.report, says(Attack, suite="mine"), {})
    recovered.report(Attack(), {"converged": True, "loss": math.nan, "curve": [1, 2]})


# ---- what a task says of a step, and of a service -------------------------------------------------------------------


class Wide(nn.Module):
    """Logits of images, of as many classes as it is told."""

    def __init__(self, classes: int, made: Any = lambda logits: logits) -> None:
        super().__init__()
        self.linear, self.made = nn.Linear(16, classes), made

    def forward(self, z: Tensor) -> Any:
        return self.made(self.linear(z.flatten(1)))


def net(head: nn.Module, edge: nn.Module | None = None) -> SplitNet:
    return SplitNet(Backbone({"edge": edge or nn.Identity(), "head": head}, {}), SPEC, at=1, bottleneck=None)


LOSS, RIGHT = torch.ones((), requires_grad=True) * 1, torch.ones(4, dtype=torch.bool)
TERMS: list[tuple[Any, str]] = [
    (None, "task: Own.terms returns None; return a dict of named losses"), ((LOSS, RIGHT), "returns (tensor"),
    (({}, RIGHT), "returns ({}"),
    (({"task": LOSS.expand(3)}, RIGHT), "task returns a tensor (3,)"), (({"task": 0.5}, RIGHT), "task returns a float"),
    (({"task": LOSS.detach()}, RIGHT), "has no gradient"),
    (({"task": LOSS}, None), "gives a NoneType as who was right"),
    (({"task": LOSS}, RIGHT[:, None]), "gives (4, 1) as who was right; give (4,)"),
    (({"lr": LOSS}, RIGHT), "calls a loss 'lr'"), (({"adversary/x": LOSS}, RIGHT), "calls a loss 'adversary/x'"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "told"), TERMS, ids=[told[:30] for _, told in TERMS])
def test_terms_are_named_scalars_and_who_was_right(made: Any, told: str) -> None:
    task = says(Task, terms=lambda self, *given: made)
    model, step = type("Model", (), {"net": net(Wide(3)), "chain": {}}), type("Step", (), {"y": torch.zeros(4)})
    refused(told, answered, task, model, LOSS, step)


@pytest.mark.parametrize(("made", "told"), [
    ([[0]], "a list"), (torch.arange(6), "(6,) in torch.int64"), (torch.zeros(1, 2), "(1, 2) in torch.float32"),
    (torch.zeros(0, 2, dtype=torch.long), "(0, 2)"),
])  # fmt: skip
def test_batches_are_places_of_images(made: Any, told: str) -> None:
    refused(f"task: Own.batches makes {told}", ordered, says(Task, batches=lambda self, *given: made), pool(), 2)
    refused("places from 5 to 6 of 6 images", placed, Task(), torch.tensor([[5, 6]]), pool())
    assert placed(Task(), torch.tensor([[5, 0]]), pool()) == 1


@pytest.mark.parametrize(("made", "told"), [
    (None, "utility returns None"), ({"accuracy": "high"}, "utility returns {'accuracy': 'high'}"),
    ({"accuracy": torch.ones(())}, "plain numbers, as by float(...)"),
    ({"f1": 0.5}, "headline is 'accuracy', and its utility has f1"),
    ({"accuracy": 87.0}, "utility: accuracy is 87; give a share from 0 to 1"),
])  # fmt: skip
def test_a_service_is_judged_by_numbers(made: Any, told: str) -> None:
    refused(told, declared.worth, Classify(smoothing=0.0), {"utility": made, "chance": {}})


def test_a_service_that_is_judged() -> None:
    task, numbers = Classify(smoothing=0.0), {"accuracy": 1.0, "r2": -3.0, "balanced_accuracy": math.nan}
    assert declared.worth(task, {"utility": numbers, "chance": {}})["utility"] == numbers
    refused("chance returns None", declared.worth, task, {"utility": numbers, "chance": None})
    refused("gaps returns []", declared.gaps, task, [])
    refused("tested returns 'x'", declared.tested, task, "x")


# ---- networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "told"), [
    (net(Wide(4)), "the cloud makes (2, 4) of 2 images, and must make logits (2, 3)"),
    (net(Wide(3, lambda made: (made, made))), "the cloud makes a tuple"),
    (net(Wide(3, lambda made: made[1:])), "the cloud makes (1, 3)"), (net(nn.Flatten()), "has no weights"),
    (net(Wide(3), Wide(3, lambda made: [made])), "the edge makes a list of 2 images"),
])  # fmt: skip
def test_a_network_gives_logits_of_all_classes(made: SplitNet, told: str) -> None:
    refused(f"backbone: {told}", logits, made, SPEC)
    logits(net(Wide(3)), SPEC)
