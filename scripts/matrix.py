"""Every attack on every kind of chain: is the suite the strongest, what does each of its members bring, at what cost?

    python scripts/matrix.py                    # makes what results/matrix/ lacks; --worlds, --chains, --plays choose
    python scripts/matrix_tables.py             # puts the tables of docs/ anew from there

A play is one attack with its settings on the releases of one chain. All are scored on the same 200 victims of a target
of the demo's size; results lie in the store, so a repetition costs nothing. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splitpriv.store import Store, write_atomic

ROWS = Path(__file__).parents[1] / "results" / "matrix"
DEMO = ("+setting=demo", "protocol.attacked=200")
WORLDS: dict[str, tuple[str, ...]] = {
    "fashion_tint": DEMO,
    "cifar10": (*DEMO, "dataset=cifar10", "protocol.limit={train: 3000, val: 500, aux: 2000, victims: 2000}"),
}
SMALL = ("decoder@defense.adversarial.net=conv", "defense.adversarial.net.width=16")  # co-trained beside `tiny`
KINDS = ("none", "noise", "dropout", "quantize", "topk", "nopeek", "cem,noise", "vib", "mid", "cloak")
CHAINS: dict[str, tuple[str, ...]] = {
    **{name.replace(",", "+"): (f"defense=[{name}]",) for name in KINDS},
    "adversarial": ("defense=[adversarial]", *SMALL),
    "patrol": ("defense=[patrol]", *SMALL),
}
DECODER = "{{epochs: {epochs}, batch: 64, lr: 0.005, net: {{width: 16}}}}"
PLAYS: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> the option of `attack`, and its settings
    "decoder": ("decoder", ("decoder@attack.decoder.net=conv", f"attack.decoder={DECODER.format(epochs=16)}")),
    "rmle": ("rmle", ("attack.rmle={steps: 200, tune: 16}",)),
    "gallery": ("gallery", ()),
    "pnp": ("pnp", ("decoder@attack.pnp.base.net=conv", f"attack.pnp.base={DECODER.format(epochs=64)}",
                    "attack.pnp.tune=32")),
    "autoinvert_quick": ("autoinvert_quick", ()),
    "decoder, 64 epochs": ("decoder", ("decoder@attack.decoder.net=conv", "attack.decoder.patience=null",
                                       f"attack.decoder={DECODER.format(epochs=64)}")),
    "gan_decoder": ("gan_decoder", ("decoder@attack.gan_decoder.base.net=conv",
                                    f"attack.gan_decoder.base={DECODER.format(epochs=16)}",
                                    "attack.gan_decoder={epochs: 8, batch: 64, n_critic: 5}",
                                    "attack.gan_decoder.critic={width: 16, widest: 64}")),
    "latent": ("latent", ()),
    "deep_prior": ("deep_prior", ("attack.deep_prior.steps=300",)),
    "decoder_avg": ("decoder_avg", ("decoder@attack.decoder_avg.net=conv",
                                    f"attack.decoder_avg={DECODER.format(epochs=16)}")),
    "rmle_avg": ("rmle_avg", ("attack.rmle_avg={steps: 200, tune: 16}",)),
    "autoinvert_quick, 16 queries": ("autoinvert_quick", ("protocol.queries=16",)),
    "autoinvert_black": ("autoinvert_black", ()),
    "autoinvert": ("autoinvert", ()),
}  # fmt: skip
CONTROL = "decoder of the suite, 4 times as long"
EVERYWHERE = ("decoder", "rmle", "gallery", "autoinvert_quick", CONTROL, "autoinvert", "gan_decoder")
DEARER = {"fashion_tint": tuple(CHAINS), "cifar10": ("none", "noise", "cem+noise", "vib")}
ELSEWHERE: dict[str, dict[str, tuple[str, ...]]] = {  # what else is played where
    **dict.fromkeys(("decoder, 64 epochs", "pnp", "latent", "deep_prior"), DEARER),
    "decoder_avg": {"fashion_tint": ("noise", "cem+noise")},
    "rmle_avg": {"fashion_tint": ("noise", "cem+noise")},
    "autoinvert_quick, 16 queries": {"fashion_tint": ("noise", "cem+noise")},
    "autoinvert_black": {"fashion_tint": ("none",)},
}


def planned(world: str, chain: str) -> list[str]:
    """The plays on one chain of a world."""
    return [*EVERYWHERE, *(play for play, chains in ELSEWHERE.items() if chain in chains.get(world, ()))]


def wanted(args: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    for world in args.worlds or WORLDS:
        for chain in args.chains or CHAINS:
            for play in args.plays or planned(world, chain):
                if play in planned(world, chain):
                    yield world, chain, play


def run(world: str, chain: str, play: str, store: Store, seconds: dict[str, float]) -> dict[str, Any]:
    """What one play gave; its seconds where they were spent now or are known to the store."""
    from splitpriv.run.pipeline import execute
    from splitpriv.run.prepare import from_overrides

    option, settings = PLAYS["gallery" if play == CONTROL else play]
    base = (*WORLDS[world], *CHAINS[chain], f"paths.outputs={store.root}", "runtime.threads=1")
    prepared = from_overrides([*base, f"attack=[{option}]", *settings])
    seconds.clear()
    row = execute(prepared, store)
    if play == CONTROL:
        return {"mse": (told := control(prepared, store))[0], "cpu_s": told[1]}
    took = store.made("attack", prepared.plan.attacks[option]).get("cpu_s")
    found = {"mse": row[f"privacy/{option}/mse"], "ssim": row[f"privacy/{option}/ssim"], "cpu_s": took,
             "floor": row["floor/mean_image/mse"], "accuracy": row["utility/accuracy"], "row": row["key"],
             "scores": row[f"scores/{option}"]}  # fmt: skip
    return found | (answered(row, option, seconds) if "suite" in row else {})


def answered(row: dict[str, Any], option: str, seconds: dict[str, float]) -> dict[str, Any]:
    """What a row says of a suite: its answer, and the errors and seconds of its members."""
    own = f"attack/{option}/"
    names = [key.split("/")[2] for key in row if key.startswith(own) and key.endswith("/select")]
    members = {name: {"mse": row[f"suite/{name}/mse"], "select": row[f"{own}{name}/select"]} for name in names}
    for name in set(members) & set(seconds):
        members[name]["cpu_s"] = round(seconds[name], 2)
    return {"suite": row["suite"], "answer": row[f"{own}answer"], "select": row[f"{own}select_mse"],
            "converged": row[f"{own}converged"], "twice": row.get(f"{own}gain_from_twice_effort"),
            "members": members}  # fmt: skip


def watch_members() -> dict[str, float]:
    """Seconds that each member of a suite takes, filled whenever one has been made and has answered.

    A member's are those in which it is made and those in which it answers, with what it asks others for anew.
    """
    from splitpriv.attacks.suite import autoinvert

    spent: dict[str, float] = {}
    clock = [0.0]

    class Watched(autoinvert.Once):
        def __init__(self, found: Any) -> None:
            super().__init__(found)
            now = time.process_time()
            self.spent, clock[0] = now - clock[0], now

        def __call__(self, releases: Any) -> Any:
            begun = time.process_time()
            answer = super().__call__(releases)
            self.spent += time.process_time() - begun
            return answer

    class WatchedLab(autoinvert.Lab):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            clock[0] = time.process_time()

    class WatchedSuite(autoinvert.Suite):
        def everything(self, releases: Any) -> Any:
            answers = super().everything(releases)
            spent.update({name: made.spent for name, made in self.lab.made.items()})
            return answers

    autoinvert.Once, autoinvert.Lab, autoinvert.Suite = Watched, WatchedLab, WatchedSuite
    return spent


def control(prepared: Any, store: Store) -> tuple[float, float]:
    """MSE and seconds of the quick suite's decoder alone, trained four times as long as its bound there."""
    import torch

    from splitpriv.attacks.suite import autoinvert, members
    from splitpriv.attacks.suite.lab import Lab, mse
    from splitpriv.attacks.suite.plateau import Length
    from splitpriv.run.context import Run

    tier = autoinvert.TIERS["quick"]
    run = Run(prepared, store, prepared.parts.runtime.start())
    begun = time.process_time()
    attack = autoinvert.AutoInvert(tier="quick", knowledge="white", queries=1)
    home = store.home("attack", f"control-{prepared.plan.fits[-1]}")
    home.mkdir(parents=True, exist_ok=True)
    access = run.access(attack)
    lab = Lab(access, 1, home)
    lab.edge = access.expected
    found = members.decoder(lab, Length(4 * tier.decoder.most, 4 * tier.decoder.most), tier.rungs)
    with torch.no_grad():
        return float(mse(found(access.intercept(1)), run.victims.x(slice(None)))), time.process_time() - begun


def pair(plays: dict[str, Any], store: Store) -> dict[str, float]:
    """Per image the better of decoder and rMLE, as rows reported it before there was a suite."""
    import torch

    from splitpriv.store.state import load_tensors

    told = [load_tensors(store.root / plays[play]["scores"]) for play in ("decoder", "rmle")]
    return {"mse": float(torch.minimum(*(t["mse"] for t in told)).mean()),
            "ssim": float(torch.maximum(*(t["ssim"] for t in told)).mean())}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, help="default: all")
    parser.add_argument("--chains", nargs="+", choices=CHAINS, help="default: all")
    parser.add_argument("--plays", nargs="+", choices=[*PLAYS, CONTROL], help="default: all that are planned")
    parser.add_argument("--again", action="store_true", help="also what results/matrix/ has; the store's stages stay")
    parser.add_argument("--store", type=Path, default=Path("outputs"), help="default: outputs")
    args = parser.parse_args()
    store, seconds = Store(args.store), watch_members()
    for world, chain, play in wanted(args):
        path = ROWS / f"{world}.json"
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        plays = rows.setdefault(chain, {})
        if play in plays and not args.again:
            continue
        begun = time.process_time()
        plays[play] = run(world, chain, play, store, seconds)
        scores = [store.root / plays[name]["scores"] for name in ("decoder", "rmle") if name in plays]
        if play in ("decoder", "rmle") and len(scores) == 2 and all(path.exists() for path in scores):
            plays["pair"] = pair(plays, store)
        # another may have written meanwhile
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        rows.setdefault(chain, {}).update(plays)
        write_atomic(path, json.dumps(rows, indent=1) + "\n")
        print(f"{world} {chain}: {play} {plays[play]['mse']:.5f}, {time.process_time() - begun:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
