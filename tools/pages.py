"Tables of the site's pages, read from settings.ini and from result files."

import configparser
from pathlib import Path
from typing import Any

from brainmtl.experiments.tables import markdown_table
from brainmtl.files import read_json

EXTRAS = {  # extra: what it adds
    "dicom": "DICOM in, DICOM segmentations out",
    "app": "the page in the browser, `brainmtl app`",
    "serve": "the HTTP service, `brainmtl serve`",
    "download": "data sets from Kaggle, `brainmtl download`",
    "onnx": "`brainmtl export` to ONNX",
    "openvino": "`--backend openvino`: lower latency for single slices on a CPU",
    "track": "`brainmtl train --track tensorboard`",
    "wandb": "`brainmtl train --track wandb`",
    "cluster": "cross-validation and ablation on several machines",
    "dev": "everything that tests and documentation need",
}
SPEEDS = {  # row of the table: (area of benchmark.json, what it measures)
    "predict one slice, network of `reference`": ("prediction", "reference, against prior"),
    "predict one slice, network of `quick`": ("prediction", "quick, against prior"),
    "prepare one scan, all cores": ("preparing", "a case, on all cores"),
    "one training step of `quick`": ("training", "step of quick, against prior"),
    "`brainmtl --help`": ("start", "brainmtl --help"),
}


def settings(root: Path) -> configparser.SectionProxy:
    "The settings of the package."
    config = configparser.ConfigParser(delimiters=["="], interpolation=None)
    config.read(root / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def requirements_text(root: Path) -> str:
    "What a machine must have."
    return (
        f"- Python {settings(root)['min_python']} or later. A virtual environment of its own is a good idea.\n"
        "- Linux is what the tests run on. macOS and Windows are expected to work and are not tested.\n"
        "- No graphics card: prediction and the demo run on two CPU cores."
    )


def extras_table(root: Path) -> str:
    "Every extra with what it adds and the packages that it installs."
    cfg = settings(root)
    names = [k.removesuffix("_requirements") for k in cfg if k.endswith("_requirements")]
    rows = []
    for name in sorted(names, key=list(EXTRAS).index):
        packages = [p.split(">")[0].split("=")[0].split("<")[0] for p in cfg[f"{name}_requirements"].split()]
        rows.append({"extra": f"`{name}`", "adds": EXTRAS[name], "packages": ", ".join(packages)})
    return markdown_table(rows)


def milliseconds(seconds: dict[str, Any]) -> str:
    "A time with the range of its rounds."
    low, middle, high = (1000 * seconds[k] for k in ("low", "median", "high"))
    return f"{middle:.3g} ms [{low:.3g}, {high:.3g}], n = {seconds['n']}"


def speed_table(results: Path) -> str:
    "Measured times, from the benchmark on file."
    areas = read_json(results / "benchmark" / "benchmark.json")["areas"]
    rows = []
    for name, (area, what) in SPEEDS.items():
        row = next(x for x in areas[area] if x["what"] == what)
        rows.append({"what": name, "median [range]": milliseconds(row["seconds"])})
    return markdown_table(rows)


def machine_text(results: Path) -> str:
    "The machine of the benchmark, and the memory of a process that prepares scans."
    measured = read_json(results / "benchmark" / "benchmark.json")
    m = measured["machine"]
    peak = next(x["peak_bytes"] for x in measured["areas"]["preparing"] if "peak_bytes" in x)
    return (
        f"Measured with {m['cores']} CPU cores ({m['architecture']}), Python {m['python']}, PyTorch {m['torch']}, "
        f"{m['precision']}. A process that prepares scans needs {max(peak.values()) / 2**20:.0f} MiB at most, "
        "however many there are."
    )
