"""Stores of invented runs: rows, measure stages, failures and sweeps as the engine would leave them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from splitpriv.measure import pictures
from splitpriv.store import Row, Store

CHAINS = ("none", "noise", "nopeek", "cem+noise", "topk", "dropout", "nopeek+noise", "ldp", "quantize", "cem")
NASTY = "<script>alert(1)</script>"
TRACEBACK = (
    'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'
    'ValueError: </script><img src=x onerror="window.hit=1"> & co'
)
STAGE = {"decoder": "dddddddd", "rmle": "aaaaaaaa"}
SHORT = {"kind": "short", "subject": "decoder", "text": "decoder: not converged", "remedy": "attack.decoder.epochs=32"}


def images(random: np.random.Generator, count: int, side: int) -> np.ndarray:
    """(N, 3, side, side) uint8 with the spectrum of photographs, which decides how small they compress."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    phases = np.exp(2j * np.pi * random.random((count, 3, side, side // 2 + 1)))
    field = np.fft.irfft2(phases / frequency, s=(side, side))
    field += 0.7 * field.mean(1, keepdims=True)
    field -= field.min((2, 3), keepdims=True)
    return (255 * field / field.max((2, 3), keepdims=True)).astype(np.uint8)


def stage(home: Path, x: np.ndarray, rebuilt: np.ndarray, mse: np.ndarray) -> None:
    """A finished measure stage that shows these victims: eight fixed ones, then three of each extreme."""
    home.mkdir(parents=True)
    scores = {"mse": mse, "psnr": -10 * np.log10(mse), "ssim": 1 - mse * 5}
    scores = {k: v.astype(np.float32) for k, v in scores.items()}
    save_file(scores, home / "scores.safetensors")
    chosen = {"fixed": list(range(8)), **pictures.extremes(np.argsort(mse).tolist())}
    index = [i for indices in chosen.values() for i in indices]
    place = [place for place, indices in chosen.items() for _ in indices]
    pictures.Shown(x, rebuilt, place, index, {k: v[index] for k, v in scores.items()}).write(home)
    (home / "done").touch()


def row(key: str, chain: str, seed: int, random: np.random.Generator, **more: Any) -> Row:
    """A row with the entries that the engine writes."""
    strength = zlib.crc32(chain.encode()) % 97 / 97
    mse = {a: 0.01 + 0.04 * strength * (1 + 0.15 * random.standard_normal()) for a in ("decoder", "rmle")}
    mse = {**mse, "worst": 0.9 * min(mse.values())}
    noise = {"defense.noise.sigma": round(0.025 * (1 + seed % 4), 4)} if "noise" in chain else {}
    epochs = more.pop("epochs", 60)
    fade = [float(np.exp(-i / 12)) for i in range(epochs)]
    return {
        "key": key, "chain": chain, "seed": seed, "attack_seed": 0, "setting": "demo", "protocol": "strict",
        "optim": "sgd", "monitor": "none", "split": "bottleneck", "backbone": ("vgg11", "resnet20")[seed % 2],
        "dataset": ("cifar10", "fashion_tint")[int(key, 16) % 2], "cut": "shallow", "precision": "fp32",
        "fit": [key], "ceiling": key, "optim.epochs": epochs, "optim.optimizer.lr": 0.05, **noise,
        "attack.decoder.epochs": 16, "attack.rmle.steps": 200,
        "utility/accuracy": 0.9 - 0.3 * strength * random.random(),
        "utility/cross_entropy": 0.6 + strength, "floor/mean_image/mse": 0.06, "floor/mean_image/psnr": 12.2,
        "floor/mean_image/ssim": 0.25, "floor/random_image/mse": 0.09, "floor/random_image/psnr": 10.4,
        "floor/random_image/ssim": 0.2, "ceiling/worst/mse": 0.009, "ceiling/worst/psnr": 20.5,
        "cost/edge_parameters": 1624.0, "cost/edge_macs": 405504.0, "cost/release_bytes": 8192.0,
        "cost/edge_latency_ms": random.random(),
        **{f"privacy/{a}/{m}": float(v) for a, value in mse.items()
           for m, v in (("mse", value), ("psnr", -10 * np.log10(value)), ("ssim", 1 - 5 * value))},
        "attack/decoder/train": [0.02 + 0.1 * f * random.random() for f in fade[:16]],
        "attack/decoder/held": [0.02 + 0.1 * f for f in fade[:16]], "attack/decoder/converged": False,
        "attack/rmle/feature_loss": [0.001 + f * random.random() for f in fade[:9]], "attack/rmle/tv": 1.0,
        "victims": 128, "flags": [SHORT] if seed % 3 else [], "verdict": "doubtful" if seed % 3 else "sound",
        "trajectory": [{"phase": "fit", "epoch": i, "lr": 0.05 * f, "task": 0.5 + f * random.random(),
                        "accuracy/train": 0.9 - 0.5 * f * random.random(),
                        "accuracy/val": 0.8 - 0.4 * f * random.random()}
                       for i, f in enumerate(fade)],
        "version/torch": "2.13.0", "commit": None, **more,
    }  # fmt: skip


def make(root: Path, count: int, *, side: int = 32, shown: bool = True, epochs: int = 60) -> Store:
    """A store of `count` runs, every one with its own victims' reconstructions by two attacks."""
    store, random = Store(root), np.random.default_rng(0)
    x = images(random, 17, side)
    for i in range(count):
        key = f"{zlib.crc32(str(i).encode()):08x}{i:08x}"
        found = row(key, CHAINS[i % len(CHAINS)], i // len(CHAINS), random, epochs=epochs)
        for attack in ("decoder", "rmle"):
            found[f"picture/{attack}"] = f"measure/{STAGE[attack]}{key[:8]}/grid.png"
            if shown:
                rebuilt = images(random, 17, side) // 2 + x // 2
                mse = random.gamma(4, found[f"privacy/{attack}/mse"] / 4, 128)
                stage((root / found[f"picture/{attack}"]).parent, x, rebuilt, mse)
        store.add_row(found)
    return store


def inferred(store: Store, row: Row) -> Row:
    """The same run with an attack on an attribute beside its others, which has scores and no pictures."""
    random, found = np.random.default_rng(1), dict(row)
    for attack, stage, shape in (("probe", "eeeeeeee", 2), ("clean/probe", "cccccccc", 5)):
        truth = random.beta(shape, 2, 64).astype(np.float32)
        home = store.home("measure", f"{stage}{row['key'][:8]}")
        home.mkdir(parents=True)
        save_file({"correct": (truth > 0.5).astype(np.float32), "truth": truth}, home / "scores.safetensors")
        (home / "done").touch()
        found[f"scores/{attack}"] = f"measure/{home.name}/scores.safetensors"
        found[f"{'' if '/' in attack else 'privacy/'}{attack}/accuracy"] = float((truth > 0.5).mean())
    images = {f"scores/{a}": str(Path(row[f"picture/{a}"]).with_name("scores.safetensors")) for a in STAGE}
    return {**found, **images, "attack.probe.attribute": "tint"}


def trouble(store: Store) -> None:
    """A failed stage, an interrupted one, a search with a failed point, a table; their text would like to be HTML."""
    failed = store.home("attack", "badbadbadbadbad0")
    failed.mkdir(parents=True)
    (failed / "failed").write_text(TRACEBACK)
    cut = store.home("fit", "cafecafecafecafe")
    cut.mkdir(parents=True)
    (cut / "curve.json").write_text(json.dumps([{"phase": "fit", "epoch": 0, "task": 1.5, "accuracy/train": 0.4}]))
    sweep = store.root / "multirun" / "2026-01-02_03-04-05_99999999"
    for i in range(2):
        (sweep / str(i)).mkdir(parents=True)
        (sweep / str(i) / "lock").touch()
    points = [{"overrides": ["+setting=demo", f"seed={i}"]} for i in range(3)]
    command = "splitpriv run -m +setting=demo seed=0,1,2"
    aims = {"utility/accuracy": "maximize", "privacy/worst/mse": "maximize"}
    (sweep / "points.json").write_text(json.dumps({"command": command, "points": points, "objective": aims}))
    best = [{"trial": i, "key": row["key"], "params": {NASTY: str(i)}, **{aim: row[aim] for aim in aims}}
            for i, row in enumerate(store.rows()[:2])]  # fmt: skip
    (sweep / "front.json").write_text(json.dumps(best))
    failed = {"overrides": points[1]["overrides"], "problems": TRACEBACK.splitlines()}
    (sweep / "1" / "failed.json").write_text(json.dumps(failed))
    table = store.root / "multirun" / "2026-01-01_03-04-05_99999999_some_table"
    (table / "0").mkdir(parents=True)
    (table / "0" / "done.json").write_text(json.dumps({"key": "f" * 16}))
    cells = [{"row": f"row {NASTY}", "play": "strict", "seed": i, "attack_seed": 0, "overrides": []} for i in range(2)]
    (table / "points.json").write_text(json.dumps({"table": "some_table", "scale": "lite", "points": cells}))
