"""Short runs end in the numbers that are committed: to the last digit on a machine that computes alike.

After a change that is meant to alter numbers: `python tests/test_golden.py` writes them anew; say why in CHANGELOG.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small import DECODER, TINT, arithmetic, execute

from splitpriv import config
from splitpriv.store import Store

RECORD = Path(__file__).parent / "golden" / "trajectory.json"
CHAINS = {
    "none": (),
    "cem,noise": (),
    "adversarial,noise": ("decoder@defense.adversarial.net=conv", "defense.adversarial.net.width=16"),
}
TELLS = ("utility/", "privacy/", "floor/", "bound/", "trajectory", "key", "fit", "cost/edge_macs")


def trajectory(chain: str, root: Path) -> dict[str, Any]:
    """Keys, losses, utility and leakage of one short run of `tiny`, fp32, on one thread."""
    cfg = config.compose(
        [*TINT, *DECODER, "optim.epochs=3", "attack=[decoder,rmle]", "attack.rmle.steps=20", f"defense=[{chain}]",
         *CHAINS[chain], "runtime.threads=1"]
    )  # fmt: skip
    row = execute(cfg, Store(root))
    return {key: row[key] for key in sorted(row) if key.startswith(TELLS)}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_short_run_ends_in_its_golden_numbers(chain: str, tmp_path: Path) -> None:
    golden = json.loads(RECORD.read_text())
    found = json.loads(json.dumps(trajectory(chain, tmp_path)))
    if golden["arithmetic"] == arithmetic():
        assert found == golden[chain]
    else:  # another processor rounds otherwise
        flat, wanted = _numbers(found), _numbers(golden[chain])
        assert flat.keys() == wanted.keys()
        assert flat == pytest.approx(wanted, rel=0.02, abs=1e-3)


def _numbers(tree: Any, where: str = "") -> dict[str, float]:
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, value in items for k, v in _numbers(value, f"{where}/{key}").items()}
    return {where: float(tree)} if isinstance(tree, int | float) else {}


if __name__ == "__main__":
    import os
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SPLITPRIV_OUTPUTS"] = scratch
        record = {"arithmetic": arithmetic(), **{c: trajectory(c, Path(scratch) / c) for c in CHAINS}}
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
