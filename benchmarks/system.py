"""Start-up time, and two processes against one."""

import os
import subprocess
import sys
import tempfile
import torch
from torch.utils.benchmark import Timer
from brainmtl.files import read_json, write_json
from brainmtl.models.model import MultiTaskModel
from brainmtl.recipe import load_recipe
from benchmarks.timing import Setup, interleave, row
from benchmarks.training import random_batch, training_step


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

    times = interleave({name: start(code) for name, code in codes.items()}, setup.rounds, setup.time_budget)
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
