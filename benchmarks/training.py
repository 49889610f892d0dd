"""Seconds of a training step, and what each optimization gains."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from brainmtl.data.augment import Augmentation
from brainmtl.training.losses import MultiTaskLoss
from brainmtl.models.model import MultiTaskModel
from brainmtl.recipe import load_recipe, override
from brainmtl.runtime import choose_runtime, make_accelerator, seed_everything
from brainmtl.training.step import train_step
from benchmarks.timing import Setup, _best, _work, interleave, rooflines, row, spread


@dataclass(frozen=True)
class StepOptions:
    "How a training step is run; the defaults are this project's way."

    precision: str | None = None  # as in `choose_runtime`
    channels_last: bool = True  # layout of images and weights
    fused: bool = True  # one kernel for the whole update?
    item: bool = False  # read the losses back at every step?


PLAIN = StepOptions("fp32", channels_last=False, fused=False, item=True)


OPTIMIZATIONS = {
    "bfloat16 arithmetic": StepOptions("fp32"),
    "channels last": StepOptions(channels_last=False),
    "fused optimizer": StepOptions(fused=False),
    "no loss read back": StepOptions(item=True),
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
        "has_label": torch.ones(n, dtype=torch.bool),
        "cls": torch.arange(n) % 2,
    }


def training_step(
    model: nn.Module,  # the network; a copy is trained
    batch: dict,  # from `random_batch`
    way: StepOptions = StepOptions(),  # how the step is run
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


class MonaiReference(nn.Module):
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
    "The networks of the recipes and their references."
    seed_everything(0)
    ours = {name: MultiTaskModel.from_recipe(load_recipe(name)) for name in ("quick", "reference")}
    return ours | {f"MONAI {name}": MonaiReference(name) for name in ("UNet", "BasicUNet")}


def _augmenting(setup: Setup) -> Callable[[], dict]:
    recipe, batch = load_recipe("reference"), random_batch(setup.batch, size=setup.size)
    return lambda: Augmentation.draw(recipe.augment, setup.batch, 0).apply(batch)


def _training_times(setup: Setup) -> tuple[dict, dict]:
    nets, (bare, work), d = networks(setup), rooflines(setup), setup.device
    batch = random_batch(setup.batch, size=setup.size)
    candidates = {**bare, "augmentation": _augmenting(setup), "prior": training_step(nets["quick"], batch, PLAIN, d)}
    candidates |= {name: training_step(net, batch, device=d, cls="MONAI" not in name) for name, net in nets.items()}
    candidates |= {
        f"without {name}": training_step(nets["reference"], batch, way, d) for name, way in OPTIMIZATIONS.items()
    }
    plain = MultiTaskModel.from_recipe(override(load_recipe("reference"), ["model.stem=1"]))
    candidates["without space-to-depth stem"] = training_step(plain, batch, device=d)
    candidates |= {
        f"batch {n}": training_step(nets["reference"], random_batch(n, size=setup.size), device=d)
        for n in setup.batches
    }
    return interleave(candidates, setup.rounds, setup.time_budget * 4, setup.block), work | {
        k: 3 * _work(nets[k], setup.size) for k in ("quick", "reference")
    }


def _bench_training(setup: Setup) -> list[dict]:
    times, work = _training_times(setup)
    best, n = _best(times), setup.batch
    roofline = {k: (best, n * work[k] / work[best]) for k in ("quick", "reference")}
    rows = [
        row(f"step of {k}, against {p}", times, k, n, (p, 1.0), roofline[k])
        for k in roofline
        for p in ("prior", "MONAI UNet", "MONAI BasicUNet")
    ]
    rows += [row("step of prior, against quick", times, "prior", n, ("quick", 1.0), roofline["quick"])]
    optimizations = [k.removeprefix("without ") for k in times if k.startswith("without ")]
    rows += [
        row(f"gain of {k}", times, "reference", n, (f"without {k}", 1.0), roofline["reference"], optimization=k)
        for k in optimizations
    ]
    rows += [
        row(
            f"gain of batch {n} over {k}",
            times,
            "reference",
            n,
            (f"batch {k}", n / k),
            roofline["reference"],
            optimization=f"batch {n} over {k}",
        )
        for k in setup.batches
    ]
    fraction = [a / (a + s) for a, s in zip(times["augmentation"], times["reference"])]
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
            fraction=spread(fraction),
        ),
    ]


def profile_step(
    setup: Setup,  # how large
) -> list[dict]:  # "operator" and its "fraction" of the step, largest first
    "Ask `torch.profiler` where a training step of the reference network spends its time."
    step = training_step(networks(setup)["reference"], random_batch(setup.batch, size=setup.size), device=setup.device)
    step()
    cuda = choose_runtime(setup.device).device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as seen:
        step()
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    spent = sorted(((getattr(e, name), e.key) for e in seen.key_averages()), reverse=True)
    total = sum(t for t, _ in spent)
    return [{"operator": key, "fraction": t / total} for t, key in spent[:8]]
