"""Work out the epoch time and disk space for a larger data set and other hardware from measured costs."""

from collections.abc import Mapping
from typing import Any
from brainmtl.models.model import MultiTaskModel
from brainmtl.recipe import load_recipe
from benchmarks.timing import _work, traffic


BRATS23 = {"patients": 1251, "slices": 190_000, "channels": 4, "voxels": 240 * 240 * 155}


A100 = {"name": "NVIDIA A100 80GB SXM (data sheet)", "flops": 312e12, "bandwidth": 2.039e12, "link": 600e9}


def host_costs(
    report: Mapping[str, Any],  # from `run_bench`, with training, loading and preparing
) -> dict[
    str, float
]:  # "loading": s per slice and modality, "preparing": s per million voxels; "augmentation": copies of a slice
    "Take from a report what one process of the host needs, and how far augmentation is from a copy."

    def find(area, start):
        return next(r for r in report["areas"][area] if r["what"].startswith(start))

    scale = (256 / report["setup"]["size"]) ** 2
    case = find("preparing", "a case, in one process")
    return {
        "loading": find("loading", f"a slice of the store, {max(report['setup']['growth'])}-fold")["seconds"]["median"]
        * scale,
        "augmentation": find("training", "augmentation")["times_roofline"]["median"],
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
    fraction = data["slices"] / devices
    copied = fraction * data["channels"] * 2 * 2 * 256**2 * 4  # bytes: image and mask, read and written in float32
    times = {
        "loading": fraction * data["channels"] * host["loading"],
        "augmentation": host["augmentation"] * copied / gpu["bandwidth"],
        "arithmetic": fraction * net["flops"] / gpu["flops"],
        "memory traffic": fraction * net["bytes"] / gpu["bandwidth"],
    }
    exchanged = 2 * (devices - 1) / devices * 4 * net["parameters"]  # bytes per step of a ring all-reduce in float32
    return times | {"gradient exchange": fraction / batch * exchanged / gpu["link"]}


def store_bytes(
    data: Mapping[str, int] = BRATS23,  # slices, channels
    size: int = 256,  # pixels per side
) -> int:  # bytes on disk
    "A float16 per pixel and modality, and a byte of mask."
    return data["slices"] * size**2 * (2 * data["channels"] + 1)
