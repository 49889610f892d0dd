"""Seconds of loading, preparing and finding near-duplicates, and their growth."""

import hashlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from timeit import timeit
from typing import Any
import nibabel as nib
import numpy as np
import pandas as pd
import torch
from isal import igzip
from scipy import ndimage as ndi
from brainmtl.data.dataset import BatchPlan, MultiSourceDataset, make_loader
from brainmtl.data.duplicates import VIEWS, contrast, descriptor, find_groups, likeness
from brainmtl.files import write_json
from brainmtl.data.phantom import write_brats
from brainmtl.data.cases import Case
from brainmtl.data.sources import find_cases
from brainmtl.data.build import build_store, prepare_case
from brainmtl.data.split import read_split
from brainmtl.data.store import Store
from benchmarks.timing import Setup, Times, interleave, rooflines, row, spread
from benchmarks.training import networks, random_batch, training_step


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


def _loading_times(folder: Path, setup: Setup) -> tuple[dict, dict, dict]:
    cases, store = _phantoms(folder, setup)
    (bare, work), grown = rooflines(setup), {k: grow_store(store, folder / f"x{k}", k) for k in setup.growth}
    step = training_step(networks(setup)["reference"], random_batch(setup.batch, size=setup.size), device=setup.device)
    candidates = {
        **bare,
        "step": step,
        "compressed files": _from_files([f for c in cases for f in c.images["flair"]], setup),
    }
    candidates |= _two_ways(Store(grown[max(grown)]), setup)
    candidates |= {f"first {k}": lambda path=path: next(_loader(path, setup)) for k, path in grown.items()}
    candidates |= {f"batch {k}": _loader(path, setup).__next__ for k, path in grown.items()}
    peaks = {
        k: {"slices": len(Store(path)), "peak_bytes": peak_memory(lambda path=path: next(_loader(path, setup)))}
        for k, path in grown.items()
    }
    return interleave(candidates, setup.rounds, setup.time_budget, setup.block), work, peaks


def _bench_loading(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, work, peaks = _loading_times(Path(tmp), setup)
    copied, optimization = setup.batch * setup.size**2 * (2 + 4 + 1 + 4) / work["copy"], "reading instead of mapping"
    rows = [
        row(
            f"gain of {optimization}",
            times,
            "read",
            setup.batch,
            ("mapped", 1.0),
            ("copy", setup.batch * setup.size**2 * 6 / work["copy"]),
            optimization=optimization,
        )
    ]
    for k, facts in peaks.items():
        fraction = spread([a / (a + s) for a, s in zip(times[f"batch {k}"], times["step"])])
        rows += [
            row(
                f"a slice of the store, {k}-fold",
                times,
                f"batch {k}",
                setup.batch,
                ("compressed files", 1.0),
                ("copy", copied),
                fraction=fraction,
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


def _preparing_times(folder: Path, setup: Setup) -> tuple[dict, dict]:
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
    candidates = {"all cores": build, "one process": one_by_one, "carried": carry, "nibabel alone": decompress}
    return interleave(candidates, setup.rounds, setup.time_budget), memory


def _bench_preparing(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, memory = _preparing_times(Path(tmp), setup)
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
    images, (bare, work) = _images(max(*setup.images, setup.many)), rooflines(setup)
    thumbs = contrast(np.stack([descriptor(p) for p in images[:64]]), 0.7, 3)

    def audit(n):
        return lambda: find_groups(images[:n], [str(i) for i in range(n)])

    times = interleave(
        {**bare, **{f"{n} images": audit(n) for n in setup.images}, "pairs": lambda: likeness(thumbs, thumbs[::-1])},
        3,
        setup.time_budget,
    )
    rows = [
        _audit_row(times, n, small, len(thumbs), work["fp32 product"])
        for small, n in zip((None, *setup.images), setup.images)
    ]
    once = {name: [float(np.median(t))] for name, t in times.items()}
    once[f"{setup.many} images"] = [timeit(audit(setup.many), number=1)]
    return [*rows, _audit_row(once, setup.many, setup.images[-1], len(thumbs), work["fp32 product"])]
