"""Every number that a row can hold: its name for people, how it is written, which way is better. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

Better = Literal["higher", "lower"]
ARROWS: Mapping[Better | None, str] = {"higher": "↑", "lower": "↓", None: ""}


@dataclass(frozen=True)
class Metric:
    """How to read a number.

    `digits`: after the point; "%" writes a percentage. `better`: for whoever runs the device, who wants privacy, a good
    service and little cost (an attacker wants the opposite of privacy); None: neither way. `machine`: depends on the
    machine, so it does not repeat. `exact`: depends on no chance. `yes_no`: each victim scores 0 or 1. `least`, `most`:
    the smallest and the largest value there are. `counted`: moves with the number of victims, which its key therefore
    names, as in `frechet@1000`.
    """

    label: str
    digits: str
    better: Better | None
    unit: str = ""
    machine: bool = False
    exact: bool = False
    yes_no: bool = False
    least: float = 0.0
    most: float = inf
    counted: bool = False

    @property
    def within(self) -> tuple[float, float]:
        """Between which values the number lies by what it is."""
        return self.least, 1.0 if self.digits == "%" else self.most

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return ARROWS[self.better]

    @property
    def heading(self) -> str:
        """Label, unit and arrow, where there are any."""
        return " ".join(filter(None, (self.label, self.unit, self.arrow)))

    def text(self, value: float) -> str:
        """The number as people read it."""
        return f"{value:.2%}" if self.digits == "%" else f"{value:,.{self.digits}f}"


# What an attack achieved, and what its score on one victim is called.
PRIVACY = {
    "mse": Metric("MSE", "4", "higher"),
    "psnr": Metric("PSNR", "2", "lower", "dB", least=-inf),
    "ssim": Metric("SSIM", "3", "lower", least=-1, most=1),
    "ms_ssim": Metric("MS-SSIM", "3", "lower", most=1),
    "lpips": Metric("LPIPS", "3", "higher"),
    "told": Metric("recognised in the reconstruction", "%", "lower", yes_no=True),
    "feature_distance": Metric("distance of features", "3", "higher"),
    "train_distance": Metric("distance of features from the nearest training image", "3", "higher"),
    "frechet": Metric("Fréchet distance of features", "1", "higher", counted=True),
    "truth": Metric("probability of the truth", "%", "lower"),
    "correct": Metric("right about the attribute", "%", "lower", yes_no=True),
    "ap": Metric("average precision", "%", "lower"),
    "accuracy": Metric("attacker's accuracy", "%", "lower"),
    "f1": Metric("attacker's macro-F1", "3", "lower"),
    "balanced_accuracy": Metric("attacker's balanced accuracy", "%", "lower"),
    "auc": Metric("AUC", "3", "lower"),
    "advantage": Metric("advantage over guessing", "%", "lower", least=-1),
    "majority": Metric("accuracy of guessing the majority", "%", None),
    "label_balanced_accuracy": Metric("balanced accuracy from the label", "%", None),
    "over_label": Metric("advantage over the label", "%", "lower", least=-1),
    "map": Metric("mean average precision", "%", "lower"),
    "rank1": Metric("rank-1 identification", "%", "lower", yes_no=True),
    "rank5": Metric("rank-5 identification", "%", "lower", yes_no=True),
    "tar": Metric("true accepts at 0.1 % false", "%", "lower"),
    "chance_map": Metric("mean average precision by chance", "%", None),
    "chance_rank1": Metric("rank-1 by chance", "%", None),
}
UTILITY = {
    "accuracy": Metric("accuracy", "%", "higher"),
    "balanced_accuracy": Metric("balanced accuracy", "%", "higher"),
    "cross_entropy": Metric("cross-entropy", "4", "lower", "nats"),
    "f1": Metric("macro-F1", "3", "higher"),
    "f1_released": Metric("macro-F1 of the answer", "3", "higher"),
    "r2": Metric("R²", "3", "higher"),
    "mse": Metric("MSE over the variance", "3", "lower"),
    "mse_released": Metric("MSE of the answer over the variance", "3", "lower"),
    "map": Metric("mean average precision", "%", "higher"),
    "rank1": Metric("rank-1 identification", "%", "higher"),
    "rank5": Metric("rank-5 identification", "%", "higher"),
}
COST = {
    "edge_parameters": Metric("edge parameters", "0", "lower", exact=True),
    "edge_stages": Metric("edge stages", "0", None, exact=True),
    "edge_macs": Metric("edge", "0", "lower", "MAC/image", exact=True),
    "total_macs": Metric("total", "0", "lower", "MAC/image", exact=True),
    "release_bytes": Metric("release", "0", "lower", "B/image", exact=True),
    "bits_per_image": Metric("rate", "0", "lower", "bit/image"),
    "edge_weight_bytes": Metric("edge weights", "0", "lower", "B", exact=True),
    "edge_peak_bytes": Metric("edge values at their peak", "0", "lower", "B/image", exact=True),
    "edge_latency_ms": Metric("edge latency", "3", "lower", "ms", machine=True),
    "edge_latency_spread_ms": Metric("edge latency, between quartiles", "3", "lower", "ms", machine=True),
}
# What no attack can beat, and what a release tells of its image.
BOUND = {
    "information": Metric("information of a release, CEM's estimate", "3", "lower", "nats"),
    "cem_mse": Metric("least MSE, CEM's bound", "4", "higher"),
    "library_mmse": Metric("least MSE of all attacks", "4", "higher"),
    "library_mmse_error": Metric("its standard error", "4", None),
    "gaussian_mmse": Metric("least MSE of all attacks", "4", "higher"),
    "dfil": Metric("dFIL", "3", "lower"),
    "dfil_mse_unbiased": Metric("least MSE of unbiased attacks", "4", "higher"),
    "van_trees_mse": Metric("least MSE, van Trees' bound", "4", "higher"),
    "van_trees_gaussian_prior_mse": Metric("least MSE if images were Gaussian", "4", "higher"),
}
INFORMATION = {
    "answer_nats": Metric("information of an answer", "3", "lower", "nats"),
    "samples": Metric("victims that information is estimated from", "0", None),
    "knn_nats": Metric("information of a release, k-NN", "3", "lower", "nats", least=-inf),
    "knn_own_nats": Metric("information of an image, k-NN", "3", None, "nats", least=-inf),
    "knn_loss_percent": Metric("information lost, k-NN", "1", "higher", "%", least=-inf),
    "gaussian_nats": Metric("information of a release, Gaussian upper bound", "3", "lower", "nats"),
    "gaussian_error_nats": Metric("its standard error", "3", None, "nats"),
    "infonce_nats": Metric("information of a release, InfoNCE", "3", "lower", "nats"),
    "infonce_cap_nats": Metric("most that InfoNCE can tell", "3", None, "nats"),
}
FAIRNESS = {
    "demographic_parity": Metric("gap of demographic parity", "%", "lower"),
    "equalised_odds": Metric("gap of equalised odds", "%", "lower"),
    "equal_opportunity": Metric("gap of equal opportunity", "%", "lower"),
}
DUPLICATES = {
    "exact": Metric("images that are in the other split, too", "0", "lower", exact=True),
    "near": Metric("images that look like one of the other split", "0", "lower", exact=True),
    "moved": Metric("images moved so that copies are on one side", "0", None, exact=True),
}
# By the first part of a row's key; the last part names the metric.
GROUPS: Mapping[str, Mapping[str, Metric]] = {
    **dict.fromkeys(("privacy", "ceiling", "clean", "floor", "suite", "judge"), PRIVACY),
    **dict.fromkeys(("utility", "chance"), UTILITY),
    "cost": COST,
    "bound": BOUND,
    "information": INFORMATION,
    "fairness": FAIRNESS,
    "duplicates": DUPLICATES,
}


def within(key: str) -> tuple[float, float]:
    """Between which values the number at a key of a row lies by what it is."""
    metric = find(key)
    return metric.within if metric else (-inf, inf)


def find(key: str) -> Metric | None:
    """The metric at a key of a row, such as `privacy/worst/mse`; None where the key holds something else."""
    group, _, rest = key.partition("/")
    name, _, count = rest.rpartition("/")[2].partition("@")
    metric = GROUPS.get(group, {}).get(name)
    if metric is None or metric.counted != count.isdecimal():
        return None
    return replace(metric, label=f"{metric.label}, n = {count}") if metric.counted else metric
