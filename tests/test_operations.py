"""How many operations a step takes, for every defence: growth over 5 % fails.

`python tests/test_operations.py` records tests/golden/operations.json anew, where a change is meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from splitpriv import config, host
from splitpriv.data.base import Split
from splitpriv.run.fit import Job, SplitFit
from splitpriv.run.parts import assemble, make_model

GOLDEN = Path(__file__).parent / "golden" / "operations.json"
CHAINS = {
    "none": "none", "noise": "noise", "cem": "cem,noise", "nopeek": "nopeek", "adversarial": "adversarial",
    "ressfl": "ressfl", "patrol_cem": "patrol_cem", "vib": "vib", "mid": "mid", "cloak": "cloak", "dropout": "dropout",
    "topk": "topk", "quantize": "quantize", "laplace": "laplace", "lipschitz": "lipschitz", "prune": "prune",
    "token_shuffle": "token_shuffle", "token_drop": "token_drop",
    "arl": "arl", "maxent": "maxent", "deepobfuscator": "deepobfuscator", "pan": "pan", "disco": "disco",
    "siamese": "siamese", "pca": "pca", "random_projection": "random_projection", "mixup": "mixup",
    "label_smoothing": "label_smoothing", "sparse_coding": "sparse_coding", "complex_valued": "complex_valued",
    "tl_dmi": "tl_dmi",
    "hsic": "hsic", "pearson": "pearson", "bido": "bido", "bido_coco": "bido_coco",
    "blur": "blur", "codec": "codec", "dfil": "dfil",
    "shredder": "shredder", "adversarial_noise": "adversarial_noise", "infodecom": "infodecom",
    "uacem": "uacem,noise", "knn_entropy": "knn_entropy,noise",
    "patch_permutation": "patch_permutation", "two_servers": "two_servers", "dual_path": "dual_path",
}  # fmt: skip


class Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(chain: str) -> int:
    """Of the second step of a chain's last phase, whose statistics are made; augmentation and optimiser included."""
    cfg = config.compose([*SMALL, "attack=[decoder]", f"defense=[{chain}]", "dataset.crop=1", "dataset.flip=true"])
    parts = assemble(cfg)
    with FakeTensorMode():
        phase = parts.phases[-1]
        model, spec = make_model(cfg, parts.dataset), parts.dataset.spec
        labels = torch.zeros(32, dtype=torch.long)
        split = Split(torch.rand(32, *spec.image), labels, torch.arange(32), dict.fromkeys(spec.attributes, labels))
        for _, defense in model.defenses():
            defense.on_phase_start(phase, model)
        module = SplitFit(model, Job("key", phase, parts.optim, parts.dataset, parts.task, split, split))
        order = module.batches()
        module.whole = len(order)
        module.step(order[0], 0.0)
        with Counter() as counter:
            module.step(order[1], 0.5)
    return counter.count


@pytest.mark.parametrize("name", CHAINS)
def test_a_step_takes_no_more_operations_than_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "to_host", lambda values: [12.0] * values.numel())
    recorded = json.loads(GOLDEN.read_text())[name]
    assert operations(CHAINS[name]) <= 1.05 * recorded


def test_every_defence_is_recorded() -> None:
    assert set(json.loads(GOLDEN.read_text())) == set(CHAINS)


if __name__ == "__main__":
    host.to_host = lambda values: [12.0] * values.numel()
    GOLDEN.write_text(json.dumps({name: operations(chain) for name, chain in CHAINS.items()}, indent=1) + "\n")
