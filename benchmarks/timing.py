"""Time candidates by turns, and compare each with a reference and with the roofline of the machine."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
import numpy as np
import torch
from torch import nn
from torch.utils.benchmark import Timer
from brainmtl.models.model import count_macs
from brainmtl.runtime import choose_runtime, has_bf16


Candidates = Mapping[str, Callable[[], Any]]


Times = Mapping[str, Sequence[float]]


def interleave(
    candidates: Candidates,  # name → function of no arguments
    rounds: int = 5,  # times that each one runs, at least 3
    time_budget: float = 20.0,  # seconds after which no further round begins
    block: float = 0.02,  # seconds that what is short is repeated for, its median counts
) -> dict[str, list[float]]:  # name → seconds per call, one for each round
    "Time functions by turns; `Timer` warms up, repeats what is short, and waits for a GPU."
    timers = {
        name: Timer("f()", globals={"f": f}, num_threads=torch.get_num_threads()) for name, f in candidates.items()
    }
    times: dict[str, list[float]] = {name: [] for name in timers}
    for done in range(1, max(3, rounds) + 1):
        for name, timer in timers.items():
            times[name].append(timer.blocked_autorange(min_run_time=block).median)
        if done >= 3 and 2 * sum(map(sum, times.values())) * (done + 1) / done > time_budget:
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
    times: Times,  # from `interleave`
    candidate: str,  # its name there
    per: float = 1.0,  # units of work in one call: slices, cases, images
    reference: Measure | None = None,  # name in `times`, and how many of its calls do the same work
    roofline: Measure | None = None,  # the same for the machine's roofline
    **more,  # anything else worth keeping
) -> (
    dict
):  # "what", "seconds" per unit; with a reference "speedup", with a roofline "times_roofline": ratios within each round
    "Put one candidate beside its reference and its roofline."

    def ratio(a, b, factor, turned):
        return spread([(factor * y / x) if turned else x / (factor * y) for x, y in zip(times[a], times[b])])

    found = {"what": what, "seconds": spread([t / per for t in times[candidate]])}
    if reference:
        found |= {"reference": reference[0], "speedup": ratio(candidate, *reference, True)}
    if roofline:
        found |= {"roofline": roofline[0], "times_roofline": ratio(candidate, *roofline, False)}
    return found | more


@dataclass(frozen=True)
class Setup:
    "How large a benchmark is."

    size: int = 256  # pixels per side
    batch: int = 8  # slices per step
    rounds: int = 5  # of each interleave, if the time allows
    time_budget: float = 25.0  # seconds per interleave
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
    time_budget=1.0,
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


def rooflines(
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


def _best(times: Times) -> str:
    "The faster product of this run: the roofline of all arithmetic."
    return min((k for k in times if k.endswith("product")), key=lambda k: np.median(times[k]))


def _work(model: nn.Module, size: int) -> float:
    "Floating-point operations of one forward pass of one slice."
    return 2.0 * sum(part["macs"] for part in count_macs(model, size).values())
