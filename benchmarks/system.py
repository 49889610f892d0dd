"""Start-up time, and two processes against one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
import nibabel as nib
import numpy as np
import torch
from PIL import Image
from torch.utils.benchmark import Timer
from brainmtl.data.phantom import phantom_volume
from brainmtl.files import read_json, write_json
from brainmtl.models.model import MultiTaskModel
from brainmtl.recipe import load_recipe
from benchmarks.timing import Setup, interleave, row
from benchmarks.training import random_batch, training_step


def _phantom_files(folder: Path, setup: Setup) -> tuple[str, str]:
    "A phantom as a scan, and its middle slice as a picture."
    volume = phantom_volume(0, setup.shape, modalities=("flair",))[0]["flair"]
    middle = volume[:, :, setup.shape[2] // 2].T
    Image.fromarray(np.uint8(255 * middle / middle.max())).save(folder / "slice.png")
    nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "scan.nii.gz")
    return str(folder / "slice.png"), str(folder / "scan.nii.gz")


def _bench_start(setup: Setup) -> list[dict]:
    "Whole processes, from the first import to the last answer."
    if not setup.whole:
        return [{"what": "import brainmtl and the commands --help and predict", "skipped": "left out of the quick run"}]
    command = "from brainmtl.cli import main; main()"
    with tempfile.TemporaryDirectory() as tmp:
        picture, scan = _phantom_files(Path(tmp), setup)
        out = Path(tmp) / "out"
        starts = {
            "empty Python": ("pass",),
            "import torch": ("import torch",),
            "import brainmtl": ("import brainmtl",),
            "brainmtl --help": (command, "--help"),
            "brainmtl predict, a picture": (command, "predict", picture, "--out", str(out)),
            "brainmtl predict, a scan": (command, "predict", scan, "--out", str(out)),
        }

        def start(args):
            def run():
                shutil.rmtree(out, ignore_errors=True)
                subprocess.run([sys.executable, "-c", *args], capture_output=True, check=True)

            return run

        times = interleave({name: start(args) for name, args in starts.items()}, setup.rounds, setup.time_budget)
    measured = [name for name in starts if "brainmtl" in name]
    return [row(name, times, name, 1, ("import torch", 1.0), ("empty Python", 1.0)) for name in measured]


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
            call = f"f({tmp + '/times.json'!r}, {setup.size}, {setup.batch}, {setup.rounds})"
            code = f"from benchmarks.system import _one_of_many as f; {call}"
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
