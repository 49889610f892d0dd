"""Seconds of a prediction, by backend and batch size."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
import torch
from torch import Tensor, nn
from brainmtl.inference.backends import openvino_run
from brainmtl.inference.export import export_onnx, onnx_runtime
from brainmtl.files import UserError
from brainmtl.models.model import MultiTaskModel, fuse_conv_norm, count_macs, save_checkpoint, optimize_for_inference
from brainmtl.data.phantom import phantom_volume
from brainmtl.inference.predict import Predictor
from brainmtl.recipe import load_recipe
from brainmtl.runtime import choose_runtime
from benchmarks.timing import Setup, _best, _work, interleave, rooflines, row
from benchmarks.training import networks, random_batch


def predicting(
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
    net = predicting(model, x, device=setup.device)
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


def _backends(folder: Path, x: Tensor, setup: Setup) -> dict[str, tuple[Callable | None, str]]:
    "The same network in other backends, from one exported graph, or the reason why one is missing."
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


def _prediction_times(folder: Path, setup: Setup) -> tuple[dict, dict, dict]:
    nets, (bare, work), d = networks(setup), rooflines(setup), setup.device
    x, plain, quick = random_batch(setup.batch, size=setup.size)["image"], nets["reference"], nets["quick"]
    net, exact = (
        optimize_for_inference(plain, choose_runtime(d)),
        optimize_for_inference(plain, choose_runtime(d, "fp32")),
    )
    candidates: dict[str, Callable] = {
        **bare,
        "prior": predicting(quick, x, "fp32", False, d),
        "prior, 1 slice": predicting(quick, x[:1], "fp32", False, d),
    }
    candidates |= {name: predicting(n, x, device=d) for name, n in nets.items() if "MONAI" in name}
    candidates |= {
        "reference": predicting(net, x, device=d),
        "quick": predicting(optimize_for_inference(quick, choose_runtime(d)), x, device=d),
        "float32": predicting(exact, x, "fp32", device=d),
        "as trained": predicting(plain, x, device=d),
        "quick as trained": predicting(quick, x, device=d),
        "weights cast at each call": predicting(fuse_conv_norm(plain), x, device=d),
        "label only": predicting(net, x, device=d, do_seg=False),
        "1 slice": predicting(net, x[:1], device=d),
        "1 slice as trained": predicting(plain, x[:1], device=d),
        "2 slices": predicting(net, x[:2], device=d),
        "volume": _predictor(folder, setup),
    }
    found = {"torch.compile": _compiled(net, x, setup), **_backends(folder, x, setup)}
    candidates |= {name: f for name, (f, _) in found.items() if f}
    work |= {k: _work(nets[k], setup.size) for k in ("quick", "reference")}
    work["label"] = work["reference"] - 2.0 * count_macs(plain, setup.size)["decoder"]["macs"]
    return (
        interleave(candidates, setup.rounds, setup.time_budget * 3, setup.block),
        work,
        {name: why for name, (f, why) in found.items() if not f},
    )


def _bench_prediction(setup: Setup) -> list[dict]:
    with tempfile.TemporaryDirectory() as tmp:
        times, work, absent = _prediction_times(Path(tmp), setup)
    best, n, deep = _best(times), setup.batch, setup.shape[2]

    def roofline(kind, slices=n):
        return best, slices * work[kind] / work[best]

    rows = [
        row(f"{k}, against {p}", times, k, n, (p, 1.0), roofline(k))
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
            roofline("reference"),
            optimization="bfloat16 arithmetic",
        ),
        row(
            "gain of folded norms",
            times,
            "weights cast at each call",
            n,
            ("as trained", 1.0),
            roofline("reference"),
            optimization="folded norms",
        ),
        row(
            "gain of weights held in bfloat16",
            times,
            "reference",
            n,
            ("weights cast at each call", 1.0),
            roofline("reference"),
            optimization="weights held in bfloat16",
        ),
        row(
            "gain of both, quick",
            times,
            "quick",
            n,
            ("quick as trained", 1.0),
            roofline("quick"),
            optimization="both, quick",
        ),
        row(
            "gain of both, a single slice",
            times,
            "1 slice",
            1,
            ("1 slice as trained", 1.0),
            roofline("reference", 1),
            optimization="both, a single slice",
        ),
        row(
            "gain of a slice and its mirror in one batch",
            times,
            "2 slices",
            2,
            ("1 slice", 2.0),
            roofline("reference", 2),
            optimization="a slice and its mirror in one batch",
        ),
        row("label only, decoder skipped", times, "label only", n, ("reference", 1.0), roofline("label")),
        row("a single slice, against prior", times, "1 slice", 1, ("prior, 1 slice", 1.0), roofline("reference", 1)),
        row(
            "a whole volume with preparation, against the network alone",
            times,
            "volume",
            deep,
            ("reference", deep / n),
            roofline("reference", deep),
        ),
    ]
    others = {
        "torch.compile": ("reference", n),
        "ONNX Runtime, float32": ("float32", n),
        "OpenVINO": ("reference", n),
        "OpenVINO, 1 slice": ("1 slice", 1),
    }
    rows += [
        row(f"gain of {k}", times, k, m, (reference, 1.0), roofline("reference", m), optimization=k)
        for k, (reference, m) in others.items()
        if k in times
    ]
    return [*rows, *({"what": f"gain of {k}", "skipped": why} for k, why in absent.items())]
