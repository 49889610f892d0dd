"""How fast each part is, as a ratio to a peer and to the limit of the machine, all measured by turns in the same run."""

import argparse
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from timeit import timeit
from typing import Any


import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from isal import igzip
from matplotlib.figure import Figure
from scipy import ndimage as ndi
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer


from brainmtl.data.augment import apply_augmentation, draw_augmentation
from brainmtl.data.dataset import BatchPlan, MultiSourceDataset, make_loader
from brainmtl.data.duplicates import VIEWS, contrast, descriptor, find_groups, likeness
from brainmtl.inference.backends import openvino_run
from brainmtl.inference.export import export_onnx, onnx_runtime
from brainmtl.files import UserError, read_json, write_json
from brainmtl.training.losses import MultiTaskLoss
from brainmtl.models.model import MultiTaskModel, fuse_conv_norm, count_macs, save_checkpoint, optimize_for_inference
from brainmtl.data.phantom import phantom_volume, write_brats
from brainmtl.inference.predict import Predictor
from brainmtl.recipe import Recipe, load_recipe, override
from brainmtl.runtime import choose_runtime, has_bf16, make_accelerator, seed_everything
from brainmtl.data.cases import Case
from brainmtl.data.sources import find_cases
from brainmtl.training.stages import run_training
from brainmtl.data.build import build_store, prepare_case
from brainmtl.data.split import read_split
from brainmtl.data.store import Store
from brainmtl.training.train import train_step


Entrants = Mapping[str, Callable[[], Any]]
Times = Mapping[str, Sequence[float]]


def race(
    entrants: Entrants,  # name → function of no arguments
    rounds: int = 5,  # times that each one runs, at least 3
    allowance: float = 20.0,  # seconds after which no further round begins
    block: float = 0.02,  # seconds that what is short is repeated for, its median counts
) -> dict[str, list[float]]:  # name → seconds per call, one for each round
    "Time functions by turns; `Timer` warms up, repeats what is short, and waits for a GPU."
    timers = {name: Timer("f()", globals={"f": f}, num_threads=torch.get_num_threads()) for name, f in entrants.items()}
    times: dict[str, list[float]] = {name: [] for name in timers}
    for done in range(1, max(3, rounds) + 1):
        for name, timer in timers.items():
            times[name].append(timer.blocked_autorange(min_run_time=block).median)
        if done >= 3 and 2 * sum(map(sum, times.values())) * (done + 1) / done > allowance:
            break
    return times


def spread(
    values: Sequence[float],  # one per round
) -> dict[str, float]:  # "median", "low", "high": the whole range; "n": rounds
    "Sum up repeated measurements; the range is given, not an interval that assumes a distribution."
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values)), "n": len(values)}


Measure = tuple[str, float]


def row(
    what: str,  # what was timed
    times: Times,  # from `race`
    entrant: str,  # its name there
    per: float = 1.0,  # units of work in one call: slices, cases, images
    peer: Measure | None = None,  # name in `times`, and how many of its calls do the same work
    limit: Measure | None = None,  # the same for the machine's limit
    **more,  # anything else worth keeping
) -> dict:  # "what", "seconds" per unit; with a peer "faster", with a limit "times_limit": ratios within each round
    "Put one entrant beside its peer and its limit."

    def ratio(a, b, factor, turned):
        return spread([(factor * y / x) if turned else x / (factor * y) for x, y in zip(times[a], times[b])])

    found = {"what": what, "seconds": spread([t / per for t in times[entrant]])}
    if peer:
        found |= {"peer": peer[0], "faster": ratio(entrant, *peer, True)}
    if limit:
        found |= {"limit": limit[0], "times_limit": ratio(entrant, *limit, False)}
    return found | more


@dataclass(frozen=True)
class Setup:
    "How large a benchmark is."

    size: int = 256  # pixels per side
    batch: int = 8  # slices per step
    rounds: int = 5  # of each race, if the time allows
    allowance: float = 25.0  # seconds per race
    block: float = 0.2  # seconds that what is short is repeated for, so that a burst of other work is outvoted
    product: int = 1024  # rows and columns of the matrices
    patients: int = 12  # phantom volumes to prepare: enough for the start of the processes to be shared out
    shape: tuple[int, int, int] = (240, 240, 155)  # their voxels: those of BraTS
    growth: tuple[int, ...] = (1, 10, 100)  # how many times the phantom store is laid out
    cases: tuple[int, int] = (10, 1000)  # phantom cases for the memory of preparing
    images: tuple[int, ...] = (250, 500, 1000)  # synthetic images for the duplicates
    many: int = 5000  # synthetic images that are audited once
    batches: tuple[int, ...] = (1, 2, 4, 16)  # other batch sizes to try
    whole: bool = True  # also what starts processes or compiles
    device: str | None = None  # as in `choose_runtime`


QUICK = Setup(
    size=32,
    batch=2,
    rounds=3,
    allowance=1.0,
    block=0.02,
    product=256,
    patients=2,
    shape=(48, 48, 8),
    growth=(1, 4),
    cases=(2, 4),
    images=(16, 32),
    many=48,
    batches=(4,),
    whole=False,
)


def limits(
    setup: Setup,  # how large
) -> tuple[
    dict[str, Callable], dict[str, float]
]:  # name → function; name → floating-point operations, or bytes read and written
    "Matrix products and a copy: what nothing on this machine can beat."
    runtime, n = choose_runtime(setup.device), setup.product

    def multiply(dtype):
        a, b = (torch.randn(n, n, device=runtime.device, dtype=dtype) for _ in range(2))
        return lambda: a @ b

    x = torch.ones(16 * n * n, device=runtime.device)
    y = torch.empty_like(x)
    kinds = {"fp32 product": torch.float32} | ({"bf16 product": torch.bfloat16} if has_bf16(runtime.device) else {})
    work = {**dict.fromkeys(kinds, 2.0 * n**3), "copy": 2.0 * x.nbytes}
    return {**{name: multiply(dtype) for name, dtype in kinds.items()}, "copy": lambda: y.copy_(x)}, work


def traffic(
    model: nn.Module,  # the network
    size: int = 256,  # pixels per side of a slice
) -> int:  # numbers that its layers read and write in one forward pass of one slice
    "Count what crosses the memory when no two layers are fused: inputs and outputs of every layer."
    moved = []
    layers = [m for m in model.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    hooks = [
        m.register_forward_hook(lambda _, inputs, output: moved.append(inputs[0].numel() + output.numel()))
        for m in layers
    ]
    weight = next(model.parameters())
    try:
        with torch.inference_mode():
            deepcopy(model.eval())(torch.zeros(1, getattr(model, "in_channels", 1), size, size, device=weight.device))
    finally:
        for h in hooks:
            h.remove()
    return sum(moved)


@dataclass(frozen=True)
class Way:
    "How a training step is run; the defaults are this project's way."

    precision: str | None = None  # as in `choose_runtime`
    channels_last: bool = True  # layout of images and weights
    fused: bool = True  # one kernel for the whole update?
    item: bool = False  # read the losses back at every step?


PRIOR = Way("fp32", channels_last=False, fused=False, item=True)
LEVERS = {
    "bfloat16 arithmetic": Way("fp32"),
    "channels last": Way(channels_last=False),
    "fused optimizer": Way(fused=False),
    "no loss read back": Way(item=True),
}


def random_batch(
    n: int,  # slices
    channels: int = 1,  # modalities
    size: int = 256,  # pixels per side
) -> dict[str, Tensor]:  # as `collate` makes it, without the lists
    "Draw noise with a background of 0: arithmetic does not care what it is given."
    g = torch.Generator().manual_seed(0)
    image = torch.randn(n, channels, size, size, generator=g) * (torch.rand(n, 1, size, size, generator=g) > 0.4)
    return {
        "image": image,
        "mask": (torch.rand(n, 1, size, size, generator=g) > 0.95).float(),
        "has_mask": torch.ones(n, dtype=torch.bool),
        "cls": torch.arange(n) % 2,
    }


def training_step(
    model: nn.Module,  # the network; a copy is trained
    batch: dict,  # from `random_batch`
    way: Way = Way(),  # how the step is run
    device: str | None = None,  # as in `choose_runtime`
    cls: bool = True,  # train the head too?
) -> Callable[[], dict]:  # takes one step at each call and returns the losses
    "Set up `train_step` in a given way, on one process or on many."
    runtime = choose_runtime(device, way.precision)
    net = deepcopy(model).to(runtime.device).train()
    on = {k: v.to(runtime.device) for k, v in batch.items()}
    if way.channels_last:
        net, on["image"] = runtime.place(net), runtime.move(on["image"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=way.fused, foreach=False)
    loss_fn, accelerator = MultiTaskLoss(1.0, float(cls)), make_accelerator(runtime)
    if accelerator.num_processes > 1:
        net = accelerator.prepare_model(net)

    def step():
        losses = train_step(net, on, loss_fn, optimizer, accelerator, runtime)
        return {k: v.item() for k, v in losses.items()} if way.item else losses

    return step


class MonaiPeer(nn.Module):
    "A MONAI network behind our interface; it has no head."

    def __init__(
        self,
        name: str,  # "BasicUNet" with its default widths, or "UNet" with 16 … 256 channels and two residual units
        in_channels: int = 1,
    ):  # modalities
        from monai.networks import nets

        super().__init__()
        more = (
            {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2} if name == "UNet" else {}
        )
        self.in_channels, self.net = (
            in_channels,
            getattr(nets, name)(spatial_dims=2, in_channels=in_channels, out_channels=1, **more),
        )

    def forward(
        self,
        x: Tensor,  # slices (B, C, H, W)
        do_seg: bool = True,  # ignored: it can do nothing else
        do_cls: bool = True,  # ignored
    ) -> dict[str, Any]:  # "seg": logits (B, 1, H, W), "cls": None
        "Draw the mask."
        return {"seg": self.net(x), "cls": None}


def networks(
    setup: Setup,  # how large
) -> dict[str, nn.Module]:  # name → untrained network
    "The networks of the recipes and their peers."
    seed_everything(0)
    ours = {name: MultiTaskModel.from_recipe(load_recipe(name)) for name in ("quick", "reference")}
    return ours | {f"MONAI {name}": MonaiPeer(name) for name in ("UNet", "BasicUNet")}


PRECISIONS = ("fp32", "bf16")


def train_in_both(
    recipe: Recipe,  # what to train
    store: Store,  # prepared slices
    folder: str | Path,  # where checkpoints and histories go
    seeds: int = 3,  # runs in each precision
) -> pd.DataFrame:  # one line per validation: precision, seed, stage, step, dice, auc
    "Train a recipe on the CPU in float32 and in bfloat16, each with the same seeds."
    lines = []
    for seed, precision in product(range(seeds), PRECISIONS):
        run = f"{precision}-{seed}"
        run_training(
            override(recipe, [f"seed={seed}"]), store, run, folder, runtime=choose_runtime("cpu", precision), show=False
        )
        lines.append(pd.read_csv(Path(folder) / "results" / run / "history.csv").assign(precision=precision, seed=seed))
    history = pd.concat(lines, ignore_index=True).rename(columns={"val_dice": "dice", "val_auc": "auc"})
    return history.reindex(columns=["precision", "seed", "stage", "step", "dice", "auc"])


def precision_effect(
    curves: pd.DataFrame,  # from `train_in_both`
    score: str,  # "dice" or "auc"
) -> dict:  # "shift": bf16 minus fp32, mean over the curve, spread over seeds; "precision", "seed": median distance of two curves
    "Set the distance between two precisions of the same seed beside that between two seeds of the same precision."
    known = curves.dropna(subset=score)
    table = known.pivot_table(index=["stage", "step"], columns=["precision", "seed"], values=score)
    shifts = table["bf16"] - table["fp32"]
    others = [table[p][a] - table[p][b] for p in PRECISIONS for a, b in combinations(sorted(set(known.seed)), 2)]
    return {
        "shift": spread(shifts.mean().tolist()),
        "precision": float(np.nanmedian(shifts.abs())),
        "seed": float(np.nanmedian(np.abs(pd.concat(others)))),
    }


def plot_precisions(
    curves: pd.DataFrame,  # from `train_in_both`
) -> Figure:  # Dice on the left, AUC on the right
    "Draw the range over seeds in each precision, stage after stage."
    fig, axes = plt.subplots(1, 2, figsize=(8, 2.6))
    ends = curves.groupby("stage", sort=False).step.max().cumsum().shift(fill_value=0)
    placed = curves.assign(x=curves.step + curves.stage.map(ends))
    for ax, score in zip(axes, ("dice", "auc")):
        for (precision, lines), color in zip(
            placed.dropna(subset=score).groupby("precision"), ("tab:orange", "tab:blue")
        ):
            by = lines.groupby("x")[score]
            ax.fill_between(by.min().index, by.min(), by.max(), color=color, alpha=0.3, lw=0)
            ax.plot(by.mean(), color=color, marker=".", label=precision)
        ax.set(xlabel="step", ylabel=f"validation {score}")
        ax.legend(fontsize=8)
    fig.tight_layout()
    return fig


def _best(times: Times) -> str:
    "The faster product of this run: the limit of all arithmetic."
    return min((k for k in times if k.endswith("product")), key=lambda k: np.median(times[k]))


def _work(model: nn.Module, size: int) -> float:
    "Floating-point operations of one forward pass of one slice."
    return 2.0 * sum(part["macs"] for part in count_macs(model, size).values())


def _augmenting(setup: Setup) -> Callable[[], dict]:
    recipe, batch = load_recipe("reference"), random_batch(setup.batch, size=setup.size)
    return lambda: apply_augmentation(batch, draw_augmentation(recipe.augment, setup.batch, 0))


def _training_race(setup: Setup) -> tuple[dict, dict]:
    nets, (bare, work), d = networks(setup), limits(setup), setup.device
    batch = random_batch(setup.batch, size=setup.size)
    entrants = {**bare, "augmentation": _augmenting(setup), "prior": training_step(nets["quick"], batch, PRIOR, d)}
    entrants |= {name: training_step(net, batch, device=d, cls="MONAI" not in name) for name, net in nets.items()}
    entrants |= {f"without {name}": training_step(nets["reference"], batch, way, d) for name, way in LEVERS.items()}
    plain = MultiTaskModel.from_recipe(override(load_recipe("reference"), ["model.stem=1"]))
    entrants["without space-to-depth stem"] = training_step(plain, batch, device=d)
    entrants |= {
        f"batch {n}": training_step(nets["reference"], random_batch(n, size=setup.size), device=d)
        for n in setup.batches
    }
    return race(entrants, setup.rounds, setup.allowance * 4, setup.block), work | {
        k: 3 * _work(nets[k], setup.size) for k in ("quick", "reference")
    }


def _bench_training(setup: Setup) -> list[dict]:
    times, work = _training_race(setup)
    best, n = _best(times), setup.batch
    limit = {k: (best, n * work[k] / work[best]) for k in ("quick", "reference")}
    rows = [
        row(f"step of {k}, against {p}", times, k, n, (p, 1.0), limit[k])
        for k in limit
        for p in ("prior", "MONAI UNet", "MONAI BasicUNet")
    ]
    rows += [row("step of prior, against quick", times, "prior", n, ("quick", 1.0), limit["quick"])]
    levers = [k.removeprefix("without ") for k in times if k.startswith("without ")]
    rows += [
        row(f"gain of {k}", times, "reference", n, (f"without {k}", 1.0), limit["reference"], lever=k) for k in levers
    ]
    rows += [
        row(
            f"gain of batch {n} over {k}",
            times,
            "reference",
            n,
            (f"batch {k}", n / k),
            limit["reference"],
            lever=f"batch {n} over {k}",
        )
        for k in setup.batches
    ]
    share = [a / (a + s) for a, s in zip(times["augmentation"], times["reference"])]
    copied = n * 2 * 2 * setup.size**2 * 4 / work["copy"]
    return [
        *rows,
        row(
            "augmentation, on the CPU",
            times,
            "augmentation",
            n,
            ("reference", 1.0),
            ("copy", copied),
            share=spread(share),
        ),
    ]


def answering(
    model: nn.Module,  # the network
    x: Tensor,  # slices (B, C, H, W)
    precision: str | None = None,  # as in `choose_runtime`
    channels_last: bool = True,  # layout of images and weights
    device: str | None = None,  # as in `choose_runtime`
    **tasks,  # `do_seg`, `do_cls`
) -> Callable[[], dict]:  # answers at each call
    "Set up one forward pass for prediction."
    runtime = choose_runtime(device, precision)
    net = deepcopy(model).to(runtime.device).eval()
    x = x.to(runtime.device)
    if channels_last:
        net, x = runtime.place(net), runtime.move(x)

    def answer():
        with torch.inference_mode(), runtime.autocast():
            return net(x, **tasks)

    return answer


def _compiled(model: nn.Module, x: Tensor, setup: Setup) -> tuple[Callable | None, str]:
    "The sped-up network through torch.compile, checked once; or why not."
    if not setup.whole:
        return None, "left out of the quick run"
    net = answering(model, x, device=setup.device)
    fast = torch.compile(net)
    try:
        same = torch.allclose(fast()["seg"].float(), net()["seg"].float(), rtol=0.1, atol=0.1)
    except Exception as e:
        return None, f"torch.compile does not work here ({type(e).__name__})"
    return (fast, "") if same else (None, "compiled code answers something else")


def _predictor(folder: Path, setup: Setup) -> Callable[[], Any]:
    "A whole phantom volume through `Predictor`, from array to mask on the input's grid."
    save_checkpoint(folder / "model", MultiTaskModel.from_recipe(load_recipe("reference")), {"input_size": setup.size})
    predictor, volume = (
        Predictor(folder / "model", setup.device),
        phantom_volume(0, setup.shape, modalities=("flair",))[0]["flair"],
    )
    return lambda: predictor.predict(volume)


def _engines(folder: Path, x: Tensor, setup: Setup) -> dict[str, tuple[Callable | None, str]]:
    "The same network in other programs, from one graph; `export_onnx` refuses a graph that answers something else. Or why not."
    names, bf16 = (
        ("ONNX Runtime, float32", "OpenVINO", "OpenVINO, 1 slice"),
        choose_runtime("cpu").dtype == torch.bfloat16,
    )
    if not setup.whole:
        return dict.fromkeys(names, (None, "left out of the quick run"))
    try:
        graph = (export_onnx(folder / "model", folder / "onnx") / "model.onnx").read_bytes()
        runs = onnx_runtime(graph), openvino_run(graph, bf16), openvino_run(graph, bf16)
    except (UserError, ImportError) as e:
        return dict.fromkeys(names, (None, str(e)))
    inputs = x.numpy(), x.numpy(), x[:1].numpy()
    return {name: (partial(run, slices), "") for name, run, slices in zip(names, runs, inputs)}


def _prediction_race(folder: Path, setup: Setup) -> tuple[dict, dict, dict]:
    nets, (bare, work), d = networks(setup), limits(setup), setup.device
    x, plain, quick = random_batch(setup.batch, size=setup.size)["image"], nets["reference"], nets["quick"]
    net, exact = (
        optimize_for_inference(plain, choose_runtime(d)),
        optimize_for_inference(plain, choose_runtime(d, "fp32")),
    )
    entrants: dict[str, Callable] = {
        **bare,
        "prior": answering(quick, x, "fp32", False, d),
        "prior, 1 slice": answering(quick, x[:1], "fp32", False, d),
    }
    entrants |= {name: answering(n, x, device=d) for name, n in nets.items() if "MONAI" in name}
    entrants |= {
        "reference": answering(net, x, device=d),
        "quick": answering(optimize_for_inference(quick, choose_runtime(d)), x, device=d),
        "float32": answering(exact, x, "fp32", device=d),
        "as trained": answering(plain, x, device=d),
        "quick as trained": answering(quick, x, device=d),
        "weights cast at each call": answering(fuse_conv_norm(plain), x, device=d),
        "label only": answering(net, x, device=d, do_seg=False),
        "1 slice": answering(net, x[:1], device=d),
        "1 slice as trained": answering(plain, x[:1], device=d),
        "2 slices": answering(net, x[:2], device=d),
        "volume": _predictor(folder, setup),
    }
    found = {"torch.compile": _compiled(net, x, setup), **_engines(folder, x, setup)}
    entrants |= {name: f for name, (f, _) in found.items() if f}
    work |= {k: _work(nets[k], setup.size) for k in ("quick", "reference")}
    work["label"] = work["reference"] - 2.0 * count_macs(plain, setup.size)["decoder"]["macs"]
    return (
        race(entrants, setup.rounds, setup.allowance * 3, setup.block),
        work,
        {name: why for name, (f, why) in found.items() if not f},
    )


def _bench_prediction(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, work, absent = _prediction_race(Path(tmp), setup)
    best, n, deep = _best(times), setup.batch, setup.shape[2]

    def limit(kind, slices=n):
        return best, slices * work[kind] / work[best]

    rows = [
        row(f"{k}, against {p}", times, k, n, (p, 1.0), limit(k))
        for k in ("quick", "reference")
        for p in ("prior", "MONAI UNet", "MONAI BasicUNet")
    ]
    rows += [
        row(
            "gain of bfloat16 arithmetic",
            times,
            "reference",
            n,
            ("float32", 1.0),
            limit("reference"),
            lever="bfloat16 arithmetic",
        ),
        row(
            "gain of folded norms",
            times,
            "weights cast at each call",
            n,
            ("as trained", 1.0),
            limit("reference"),
            lever="folded norms",
        ),
        row(
            "gain of weights held in bfloat16",
            times,
            "reference",
            n,
            ("weights cast at each call", 1.0),
            limit("reference"),
            lever="weights held in bfloat16",
        ),
        row("gain of both, quick", times, "quick", n, ("quick as trained", 1.0), limit("quick"), lever="both, quick"),
        row(
            "gain of both, a single slice",
            times,
            "1 slice",
            1,
            ("1 slice as trained", 1.0),
            limit("reference", 1),
            lever="both, a single slice",
        ),
        row(
            "gain of a slice and its mirror in one batch",
            times,
            "2 slices",
            2,
            ("1 slice", 2.0),
            limit("reference", 2),
            lever="a slice and its mirror in one batch",
        ),
        row("label only, decoder skipped", times, "label only", n, ("reference", 1.0), limit("label")),
        row("a single slice, against prior", times, "1 slice", 1, ("prior, 1 slice", 1.0), limit("reference", 1)),
        row(
            "a whole volume with preparation, against the network alone",
            times,
            "volume",
            deep,
            ("reference", deep / n),
            limit("reference", deep),
        ),
    ]
    others = {
        "torch.compile": ("reference", n),
        "ONNX Runtime, float32": ("float32", n),
        "OpenVINO": ("reference", n),
        "OpenVINO, 1 slice": ("1 slice", 1),
    }
    rows += [
        row(f"gain of {k}", times, k, m, (peer, 1.0), limit("reference", m), lever=k)
        for k, (peer, m) in others.items()
        if k in times
    ]
    return [*rows, *({"what": f"gain of {k}", "skipped": why} for k, why in absent.items())]


def grow_store(
    source: str | Path,  # a store
    folder: str | Path,  # where the larger one goes, on the same disk
    times: int,  # how many times each case appears
) -> Path:  # the folder
    "Lay a store out several times by hard links, with cases, patients and groups of their own."
    source, folder = Path(source), Path(folder)
    index = pd.read_csv(source / "index.csv", dtype={"patient": str, "case": str, "group": str}, keep_default_na=False)
    parts = [index.assign(**{c: index[c] + f"-{k}" for c in ("patient", "case", "group")}) for k in range(times)]
    for case in index.case.unique():
        for k in range(times):
            shutil.copytree(source / "cases" / case, folder / "cases" / f"{case}-{k}", copy_function=os.link)
    table = pd.concat(parts, ignore_index=True)
    table.assign(row=np.arange(len(table))).to_csv(folder / "index.csv", index=False)
    split = read_split(source / "split.json")

    def each(groups):
        return tuple(f"{g}-{k}" for g in groups for k in range(times))

    grown = type(split)(
        **asdict(split)
        | {p: each(getattr(split, p)) for p in ("train", "val", "test")}
        | {"folds": {f"{g}-{k}": f for g, f in split.folds.items() for k in range(times)}}
    )
    write_json(folder / "split.json", asdict(grown) | {"hash": grown.hash})
    shutil.copy(source / "store.json", folder / "store.json")
    return folder


def peak_memory(
    f: Callable[[], Any],  # to be called once
) -> int:  # bytes
    "Trace the most memory that Python and NumPy held during a call, memory maps not counted."
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _loader(path: Path, setup: Setup) -> Iterator[dict]:
    store = Store(path)
    everything = np.arange(len(store))
    return iter(
        make_loader(MultiSourceDataset(store, everything), BatchPlan(store.index, everything, setup.batch, 10**9))
    )


def _from_files(files: Sequence[Path], setup: Setup) -> Callable[[], list]:
    "The same number of slices out of the publisher's compressed files."

    def read():
        return [
            np.asarray(nib.load(files[i % len(files)]).dataobj[..., i % setup.shape[2]], np.float32)
            for i in range(setup.batch)
        ]

    return read


def _phantoms(folder: Path, setup: Setup) -> tuple[list[Case], Path]:
    write_brats(folder / "raw", setup.patients, setup.shape, modalities=("flair",), through=True)
    cases = find_cases((str(folder / "raw"),), (), (), ())[0]
    build_store(folder / "store", cases, size=setup.size, progress=False)
    return cases, folder / "store"


def _two_ways(store: Store, setup: Setup) -> dict[str, Callable]:
    "The same images out of many cases: each one read, or each case's file mapped and converted by NumPy."
    rows = np.random.default_rng(0).integers(len(store), size=setup.batch).tolist()
    place = store.index.groupby("case").cumcount()
    files = [(store.path / "cases" / store.index.case[r] / "image.npy", place[r]) for r in rows]
    return {
        "read": lambda: [torch.from_numpy(store.image(r)).float() for r in rows],
        "mapped": lambda: [torch.from_numpy(np.load(f, mmap_mode="r")[k].astype(np.float32)) for f, k in files],
    }


def _loading_race(folder: Path, setup: Setup) -> tuple[dict, dict, dict]:
    cases, store = _phantoms(folder, setup)
    (bare, work), grown = limits(setup), {k: grow_store(store, folder / f"x{k}", k) for k in setup.growth}
    step = training_step(networks(setup)["reference"], random_batch(setup.batch, size=setup.size), device=setup.device)
    entrants = {
        **bare,
        "step": step,
        "compressed files": _from_files([f for c in cases for f in c.images["flair"]], setup),
    }
    entrants |= _two_ways(Store(grown[max(grown)]), setup)
    entrants |= {f"first {k}": lambda path=path: next(_loader(path, setup)) for k, path in grown.items()}
    entrants |= {f"batch {k}": _loader(path, setup).__next__ for k, path in grown.items()}
    peaks = {
        k: {"slices": len(Store(path)), "peak_bytes": peak_memory(lambda path=path: next(_loader(path, setup)))}
        for k, path in grown.items()
    }
    return race(entrants, setup.rounds, setup.allowance, setup.block), work, peaks


def _bench_loading(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, work, peaks = _loading_race(Path(tmp), setup)
    copied, lever = setup.batch * setup.size**2 * (2 + 4 + 1 + 4) / work["copy"], "reading instead of mapping"
    rows = [
        row(
            f"gain of {lever}",
            times,
            "read",
            setup.batch,
            ("mapped", 1.0),
            ("copy", setup.batch * setup.size**2 * 6 / work["copy"]),
            lever=lever,
        )
    ]
    for k, facts in peaks.items():
        share = spread([a / (a + s) for a, s in zip(times[f"batch {k}"], times["step"])])
        rows += [
            row(
                f"a slice of the store, {k}-fold",
                times,
                f"batch {k}",
                setup.batch,
                ("compressed files", 1.0),
                ("copy", copied),
                share=share,
                **facts,
            ),
            row(
                f"open the store and give the first batch, {k}-fold",
                times,
                f"first {k}",
                1,
                ("compressed files", 1.0),
                ("copy", copied),
                **facts,
            ),
        ]
    return rows


_PREPARE = """import resource, sys
from brainmtl.data.sources import find_cases
from brainmtl.data.build import build_store
build_store(sys.argv[2], find_cases((sys.argv[1],), (), (), ())[0], progress=False)
own = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(max(*own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024)"""


def _prepare_memory(folder: Path, n: int) -> int:
    write_brats(folder / f"raw{n}", n, (64, 64, 16), modalities=("flair",))
    command = [sys.executable, "-c", _PREPARE, str(folder / f"raw{n}"), str(folder / f"store{n}")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _carry(case: Case, kept: dict[str, bytes], target: Path):
    "What no program can leave out: decompress the case, here with ISA-L, write what is kept of it and hash its image."
    for f in case.files:
        igzip.decompress(f.read_bytes())
    hashlib.sha256(kept["image.npy"])
    target.mkdir()
    for name, data in kept.items():
        (target / name).write_bytes(data)


def _preparing_race(folder: Path, setup: Setup) -> tuple[dict, dict]:
    cases, store = _phantoms(folder, setup)
    many = [replace(c, case=f"{c.case}-{k}", patient=f"{c.patient}-{k}") for k in range(3) for c in cases]

    def fresh():
        return Path(tempfile.mkdtemp(dir=folder))

    def build():
        build_store(fresh() / "store", many, size=setup.size, progress=False)

    def one_by_one():
        target = fresh()
        for c in cases:
            prepare_case(c, target / c.case, "", setup.size)

    kept = {c.case: {f.name: f.read_bytes() for f in (store / "cases" / c.case).glob("*.npy")} for c in cases}

    def carry():
        target = fresh()
        for c in cases:
            _carry(c, kept[c.case], target / c.case)

    def decompress():
        return [np.asanyarray(nib.load(f).dataobj) for c in cases for f in c.files]

    memory = (
        {n: _prepare_memory(folder, n) for n in setup.cases}
        if setup.whole and Path("/proc/self/status").exists()
        else {}
    )
    entrants = {"all cores": build, "one process": one_by_one, "carried": carry, "nibabel alone": decompress}
    return race(entrants, setup.rounds, setup.allowance), memory


def _bench_preparing(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, memory = _preparing_race(Path(tmp), setup)
    n, cores = setup.patients, os.cpu_count() or 1
    voxels = {"mvoxels": math.prod(setup.shape) / 1e6}
    rows = [
        row(
            "a case, on all cores",
            times,
            "all cores",
            3 * n,
            ("one process", 3.0),
            ("nibabel alone", 3 / cores),
            **voxels,
        ),
        row("a case, in one process", times, "one process", n, ("carried", 1.0), ("nibabel alone", 1.0), **voxels),
        row(
            "a case carried over unprepared",
            times,
            "carried",
            n,
            ("one process", 1.0),
            ("nibabel alone", 1.0),
            **voxels,
        ),
    ]
    peaks = {"what": "peak memory of a process while preparing", "peak_bytes": {str(k): v for k, v in memory.items()}}
    return [
        *rows,
        peaks
        if memory
        else {"what": peaks["what"], "skipped": "left out of the quick run, and not known outside of Linux"},
    ]


def _images(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    at = np.hypot(*np.meshgrid(np.linspace(-1.2, 1.2, 96), np.linspace(-1.1, 1.1, 96))) < 1
    return [(ndi.gaussian_filter(rng.normal(size=(96, 96)), 3) * 200 + 100).clip(1, 255) * at for _ in range(n)]


def _audit_row(times: Times, n: int, smaller: int | None, thumbs: int, work: float) -> dict:
    "The audit of `n` images beside comparing every pair of them unaligned."
    name, more = f"{n} images", {"n_pictures": n}
    if smaller:
        more["exponent"] = spread(
            [math.log(b / a) / math.log(n / smaller) for a, b in zip(times[f"{smaller} images"], times[name])]
        )
    pair, products = ("pairs", n * (n - 1) / 2 / thumbs), 2.0 * len(VIEWS) * 256 * n**2 / work
    return row(
        f"audit of {name}, against every pair unaligned", times, name, 1, pair, ("fp32 product", products), **more
    )


def _bench_duplicates(setup: Setup) -> list[dict]:
    images, (bare, work) = _images(max(*setup.images, setup.many)), limits(setup)
    thumbs = contrast(np.stack([descriptor(p) for p in images[:64]]), 0.7, 3)

    def audit(n):
        return lambda: find_groups(images[:n], [str(i) for i in range(n)])

    times = race(
        {**bare, **{f"{n} images": audit(n) for n in setup.images}, "pairs": lambda: likeness(thumbs, thumbs[::-1])},
        3,
        setup.allowance,
    )
    rows = [
        _audit_row(times, n, small, len(thumbs), work["fp32 product"])
        for small, n in zip((None, *setup.images), setup.images)
    ]
    once = {name: [float(np.median(t))] for name, t in times.items()}
    once[f"{setup.many} images"] = [timeit(audit(setup.many), number=1)]
    return [*rows, _audit_row(once, setup.many, setup.images[-1], len(thumbs), work["fp32 product"])]


def _bench_start(setup: Setup) -> list[dict]:
    if not setup.whole:
        return [{"what": "import brainmtl and brainmtl --help", "skipped": "left out of the quick run"}]
    codes = {
        "empty Python": "pass",
        "import torch": "import torch",
        "import brainmtl": "import brainmtl",
        "brainmtl --help": "from brainmtl.cli import main; main()",
    }

    def start(code):
        return lambda: subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, check=True)

    times = race({name: start(code) for name, code in codes.items()}, setup.rounds, setup.allowance)
    return [
        row(name, times, name, 1, ("import torch", 1.0), ("empty Python", 1.0))
        for name in ("import brainmtl", "brainmtl --help")
    ]


def _one_of_many(out: str, size: int, batch: int, rounds: int) -> None:
    "Take steps as one of several processes that `torchrun` started; each has its own batch and one thread."
    torch.set_num_threads(1)
    step = training_step(
        MultiTaskModel.from_recipe(load_recipe("reference")), random_batch(batch, size=size), device="cpu"
    )
    times = [Timer("f()", globals={"f": step}).timeit(2).median for _ in range(rounds)]
    if os.environ["RANK"] == "0":
        write_json(out, times)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _bench_processes(setup: Setup) -> list[dict]:
    if not setup.whole:
        return [{"what": "two processes", "skipped": "left out of the quick run"}]
    times = {}
    with tempfile.TemporaryDirectory() as tmp:
        for n in (1, 2):
            code = f"from benchmarks.benchmark import _one_of_many as f; f({tmp + '/times.json'!r}, {setup.size}, {setup.batch}, {setup.rounds})"
            launch = [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                str(n),
                "--no-python",
                sys.executable,
                "-c",
                code,
            ]
            subprocess.run(launch, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            times[f"{n} processes"] = read_json(f"{tmp}/times.json")
    return [
        row(
            "a step of two processes, each with its own batch",
            times,
            "2 processes",
            2 * setup.batch,
            ("1 processes", 2.0),
            ("1 processes", 1.0),
        )
    ]


AREAS: dict[str, Callable[[Setup], list[dict]]] = {
    "training": _bench_training,
    "prediction": _bench_prediction,
    "loading": _bench_loading,
    "preparing": _bench_preparing,
    "duplicates": _bench_duplicates,
    "start": _bench_start,
    "processes": _bench_processes,
}


def profile_step(
    setup: Setup,  # how large
) -> list[dict]:  # "operator" and its "share" of the step, largest first
    "Ask `torch.profiler` where a training step of the reference network spends its time."
    step = training_step(networks(setup)["reference"], random_batch(setup.batch, size=setup.size), device=setup.device)
    step()
    cuda = choose_runtime(setup.device).device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as seen:
        step()
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    spent = sorted(((getattr(e, name), e.key) for e in seen.key_averages()), reverse=True)
    total = sum(t for t, _ in spent)
    return [{"operator": key, "share": t / total} for t, key in spent[:8]]


def run_bench(
    quick: bool = False,  # tiny sizes: seconds instead of minutes, for tests
    areas: Sequence[str] | None = None,  # of `AREAS`; None: all
    device: str | None = None,  # as in `choose_runtime`
    out: str | Path | None = None,  # JSON file to write; None: none
) -> dict:  # "machine", "limits", "profile", "areas": area → rows
    "Measure; raises `UserError` for an unknown area. On a machine that is busy with something else only the spread grows."
    unknown = sorted(set(areas or ()) - set(AREAS))
    if unknown:
        raise UserError(f"no area {unknown[0]}", hint=f"use {', '.join(AREAS)}")
    setup = Setup(**{**asdict(QUICK if quick else Setup()), "device": device})
    bare, work = limits(setup)
    times = race(bare, setup.rounds, setup.allowance, setup.block)
    rates = {k: spread([work[k] / t for t in times[k]]) for k in bare}
    report = {
        "machine": _machine(setup),
        "setup": asdict(setup),
        "limits": rates,
        "profile": profile_step(setup),
        "areas": {a: AREAS[a](setup) for a in areas or AREAS},
    }
    if out:
        write_json(out, report)
    return report


def _machine(setup: Setup) -> dict:
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **choose_runtime(setup.device).describe(),
    }


def _cell(value: Mapping[str, float] | None, scale: float = 1.0, digits: int = 2) -> str:
    return (
        f"{value['median'] * scale:.{digits}f} ({value['low'] * scale:.{digits}f}–{value['high'] * scale:.{digits}f})"
        if value
        else ""
    )


def bench_table(
    report: Mapping[str, Any],  # from `run_bench`
) -> str:  # Markdown
    "Lay out a report: milliseconds per unit of work, how many times faster than the peer, how many times the limit; ranges in brackets."
    lines = ["| area | what | ms | peer | times faster | limit | times the limit |", "|" + "---|" * 7]
    for area, rows in report["areas"].items():
        for r in rows:
            words = [r.get("peer", ""), _cell(r.get("faster")), r.get("limit", ""), _cell(r.get("times_limit"))]
            if "seconds" not in r:
                words = [
                    r.get("skipped") or ", ".join(f"{k}: {v / 2**20:.0f} MiB" for k, v in r["peak_bytes"].items()),
                    "",
                    "",
                    "",
                ]
            lines.append("| " + " | ".join([area, r["what"], _cell(r.get("seconds"), 1e3), *words]) + " |")
    return "\n".join(lines)


def levers(
    report: Mapping[str, Any],  # from `run_bench`
) -> pd.DataFrame:  # area, lever, gain, low, high, "verdict": helped, cost, or no gain shown
    "List what was tried; a gain counts only when it was above 1 in every round."

    def verdict(g):
        return "helped" if g["low"] > 1 else "cost" if g["high"] < 1 else "no gain shown"

    found = [(area, r["lever"], r["faster"]) for area, rows in report["areas"].items() for r in rows if "lever" in r]
    return pd.DataFrame(
        [
            {"area": a, "lever": k, "gain": g["median"], "low": g["low"], "high": g["high"], "verdict": verdict(g)}
            for a, k, g in found
        ]
    )


def plot_bench(
    report: Mapping[str, Any],  # from `run_bench`
) -> Figure:  # left: times faster than the peer; right: times the limit
    "Draw every row's two ratios with their ranges on a logarithmic scale; 1 is a line."
    rows = [(area, r) for area, lines in report["areas"].items() for r in lines if "seconds" in r][::-1]
    fig, axes = plt.subplots(1, 2, figsize=(9, 0.17 * len(rows) + 1), sharey=True)
    colors = dict(zip(AREAS, plt.get_cmap("tab10").colors))
    for ax, key, title in (
        (axes[0], "faster", "times faster than the peer"),
        (axes[1], "times_limit", "times the limit"),
    ):
        for y, (area, r) in enumerate(rows):
            v = r[key]
            ax.errorbar(
                v["median"],
                y,
                xerr=[[v["median"] - v["low"]], [v["high"] - v["median"]]],
                fmt="o",
                ms=3,
                color=colors[area],
            )
        ax.axvline(1, color="0.7", zorder=0)
        ax.set(xscale="log", title=title)
    axes[0].set_yticks(range(len(rows)), [f"{area}: {r['what']}" for area, r in rows], fontsize=6)
    fig.tight_layout()
    return fig


def plot_growth(
    report: Mapping[str, Any],  # from `run_bench`, with loading
) -> Figure:  # left: milliseconds; right: MiB; against the slices of the store
    "Draw what a larger store costs: time to the first batch, time for a slice after it, and the most memory until the first batch."
    rows = [r for r in report["areas"]["loading"] if "slices" in r]
    fig, axes = plt.subplots(1, 2, figsize=(8, 2.6))
    kinds = {"open the store and give the first batch": "first batch", "a slice of the store": "a slice"}
    for (start, label), color in zip(kinds.items(), ("tab:blue", "tab:orange")):
        those = [r for r in rows if r["what"].startswith(start)]
        slices, times = [r["slices"] for r in those], [r["seconds"] for r in those]
        axes[0].fill_between(
            slices, [t["low"] * 1e3 for t in times], [t["high"] * 1e3 for t in times], color=color, alpha=0.3, lw=0
        )
        axes[0].plot(slices, [t["median"] * 1e3 for t in times], color=color, marker=".", label=label)
    axes[1].plot(slices, [r["peak_bytes"] / 2**20 for r in those], color="tab:green", marker=".")
    axes[0].set(ylabel="ms", yscale="log")
    axes[0].legend(fontsize=8)
    axes[1].set(ylabel="peak memory, MiB", ylim=0)
    for ax in axes:
        ax.set(xlabel="slices in the store", xscale="log")
    fig.tight_layout()
    return fig


BRATS23 = {"patients": 1251, "slices": 190_000, "channels": 4, "voxels": 240 * 240 * 155}
A100 = {"name": "NVIDIA A100 80GB SXM (data sheet)", "flops": 312e12, "bandwidth": 2.039e12, "link": 600e9}


def host_costs(
    report: Mapping[str, Any],  # from `run_bench`, with training, loading and preparing
) -> dict[
    str, float
]:  # "loading": seconds per slice of 256 × 256 and modality, "preparing": per million voxels; "augmentation": copies of a slice
    "Take from a report what one process of the host needs, and how far augmentation is from a copy."

    def find(area, start):
        return next(r for r in report["areas"][area] if r["what"].startswith(start))

    scale = (256 / report["setup"]["size"]) ** 2
    case = find("preparing", "a case, in one process")
    return {
        "loading": find("loading", f"a slice of the store, {max(report['setup']['growth'])}-fold")["seconds"]["median"]
        * scale,
        "augmentation": find("training", "augmentation")["times_limit"]["median"],
        "preparing": case["seconds"]["median"] / case["mvoxels"],
    }


def network_costs(
    recipe: str = "reference",  # a shipped recipe, given four modalities
    channels: int = 4,  # modalities
) -> dict[str, float]:  # "flops" and "bytes" of a training step per slice, "parameters"
    "Count the work of a training step: backward is twice forward; traffic in bfloat16."
    model = MultiTaskModel(channels, load_recipe(recipe).model)
    return {
        "flops": 3 * _work(model, 256),
        "bytes": 3.0 * 2 * traffic(model, 256),
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }


def plan_epoch(
    host: Mapping[str, float],  # from `host_costs`
    net: Mapping[str, float],  # from `network_costs`
    devices: int = 1,  # accelerators, each fed by a host process of its own
    batch: int = 16,  # slices per device and step
    gpu: Mapping[str, Any] = A100,  # peak arithmetic, bandwidth, link
    data: Mapping[str, int] = BRATS23,  # slices, channels
) -> dict[str, float]:  # resource → seconds for one pass over all slices
    "Say how long each resource would need for an epoch if it were the only one; the largest is the bottleneck."
    share = data["slices"] / devices
    copied = share * data["channels"] * 2 * 2 * 256**2 * 4  # bytes: image and mask, read and written in float32
    times = {
        "loading": share * data["channels"] * host["loading"],
        "augmentation": host["augmentation"] * copied / gpu["bandwidth"],
        "arithmetic": share * net["flops"] / gpu["flops"],
        "memory traffic": share * net["bytes"] / gpu["bandwidth"],
    }
    exchanged = 2 * (devices - 1) / devices * 4 * net["parameters"]  # bytes per step of a ring all-reduce in float32
    return times | {"gradient exchange": share / batch * exchanged / gpu["link"]}


def store_bytes(
    data: Mapping[str, int] = BRATS23,  # slices, channels
    size: int = 256,  # pixels per side
) -> int:  # bytes on disk
    "A float16 per pixel and modality, and a byte of mask."
    return data["slices"] * size**2 * (2 * data["channels"] + 1)


def main() -> None:
    "Run from the command line: python -m benchmarks.benchmark [--quick] [--areas A,B] [--device D] [--out FILE]."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--areas", help="names separated by commas; all when left out")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or mps; the fastest available when left out")
    parser.add_argument("--out", help="JSON file for the measurements")
    given = parser.parse_args()
    made = run_bench(given.quick, given.areas.split(",") if given.areas else None, given.device, given.out)
    print(bench_table(made))


if __name__ == "__main__":
    main()
