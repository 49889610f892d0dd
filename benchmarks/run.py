"""Measure every area and write one JSON file.

python -m benchmarks.run --out results/benchmark/benchmark.json      (--quick for seconds instead of minutes)
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
import torch
from brainmtl.files import UserError, write_json
from brainmtl.runtime import choose_runtime
from benchmarks.show import bench_table
from benchmarks.timing import QUICK, Setup, interleave, rooflines, spread
from benchmarks.data import _bench_duplicates, _bench_loading, _bench_preparing
from benchmarks.prediction import _bench_prediction
from benchmarks.system import _bench_processes, _bench_start
from benchmarks.training import _bench_training, profile_step


AREAS: dict[str, Callable[[Setup], list[dict]]] = {
    "training": _bench_training,
    "prediction": _bench_prediction,
    "loading": _bench_loading,
    "preparing": _bench_preparing,
    "duplicates": _bench_duplicates,
    "start": _bench_start,
    "processes": _bench_processes,
}


def run_bench(
    quick: bool = False,  # tiny sizes: seconds instead of minutes, for tests
    areas: Sequence[str] | None = None,  # of `AREAS`; None: all
    device: str | None = None,  # as in `choose_runtime`
    out: str | Path | None = None,  # JSON file to write; None: none
) -> dict:  # "machine", "rooflines", "profile", "areas": area → rows
    "Measure; raises `UserError` for an unknown area. On a busy machine the ranges grow."
    unknown = sorted(set(areas or ()) - set(AREAS))
    if unknown:
        raise UserError(f"no area {unknown[0]}", hint=f"use {', '.join(AREAS)}")
    setup = Setup(**{**asdict(QUICK if quick else Setup()), "device": device})
    bare, work = rooflines(setup)
    times = interleave(bare, setup.rounds, setup.time_budget, setup.block)
    rates = {k: spread([work[k] / t for t in times[k]]) for k in bare}
    report = {
        "machine": _machine(setup),
        "setup": asdict(setup),
        "rooflines": rates,
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


def main() -> int:
    "Measure from the command line."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure every area.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: seconds instead of minutes")
    parser.add_argument("--areas", nargs="*", choices=list(AREAS), help="some areas only")
    parser.add_argument("--device", help="cpu, cuda, …; the best there is when left out")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    print(bench_table(run_bench(args.quick, args.areas, args.device, args.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
