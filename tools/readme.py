"""Make README.md from nbs/index.ipynb; its tables and figures come from the result files.

python -m tools.readme
"""

import csv
import re
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from brainmtl.data.phantom import phantom_volume
from brainmtl.evaluation.compare import MACRO_SOURCE
from brainmtl.experiments.tables import get_path, markdown_table
from brainmtl.files import UserError, atomic_path, file_hash, read_json
from brainmtl.inference.predict import Predictor
from brainmtl.inference.result import overlay
from brainmtl.intervals import Interval
from brainmtl.verdicts import Difference, decide
from tools.notebooks import output_text

PUBLISHED = "reference"  # the run whose baselines stand beside the scores


def score(results: Path, run: str, file: str, place: str) -> dict[str, Any] | None:
    "One score of a result file, by dotted keys, as JSON holds it."
    return get_path(read_json(results / run / file), place)


def best_baseline(results: Path, place: str) -> str:
    "Value and name of the best baseline of a score; a dash when none has it."
    baselines = read_json(results / PUBLISHED / "baselines.json")["baselines"]
    values = {name: get_path(b["evaluation"], f"{place}.value") for name, b in baselines.items()}
    known = {name: v for name, v in values.items() if isinstance(v, float)}
    best = max(known, key=known.__getitem__, default=None)
    return f"{known[best]:.2f} ({best.replace('_', ' ')})" if best else "–"


def results_table(results: Path) -> str:
    "The published scores, listed in results/published.csv, beside baselines and cited work."
    with (results / "published.csv").open(encoding="utf-8", newline="") as f:
        lines = list(csv.DictReader(f))
    rows = []
    for line in lines:
        measured = Interval.from_json(score(results, line["run"], line["file"], line["place"]))
        baseline = best_baseline(results, line["place"]) if line["baseline"] == "best" else "–"
        row = {"Score": line["score"], "brainmtl [95 % CI]": str(measured), "Best baseline": baseline}
        rows.append(row | {"Published elsewhere": line["elsewhere"] or "–"})
    return markdown_table(rows)


def comparisons(results: Path) -> list[dict[str, Any]]:
    "Joint training against the single-task controls, per source and macro."
    wanted = {"seg_only": ("volume Dice",), "cls_only": ("AUC", "balanced accuracy")}
    found = read_json(results / "real_ablation" / "ablation.json")["comparisons"]
    return [c for c in found if c["what"] in wanted.get(c["b"], ())]


def finding(results: Path) -> str:
    "The answer to the question of the repository, in two sentences."
    pairs = comparisons(results)
    by = {(c["b"], c["what"], c["source"]): Interval.from_json(c["difference"]) for c in pairs}
    dice, auc = by["seg_only", "volume Dice", "lgg"], by["cls_only", "AUC", "lgg"]
    seeds = next(c["difference"]["seeds"] for c in pairs if c["source"] == "lgg")
    means = [Difference.from_json(c["difference"]) for c in pairs if c["source"] == MACRO_SOURCE]
    shown = sum(decide(d) in ("better", "worse") for d in means)
    result = f"{shown} of {len(means)} differences are shown" if shown else "no difference shown"
    return (
        f"**Finding.** On LGG ({dice.clusters} test patients, {seeds} seeds, equal optimizer steps) joint training "
        f"changed Dice per scan by {signed(dice)} against segmentation only, and AUC per slice by {signed(auc)} "
        f"against classification only: {result} (means over sources, permutation test over patients, "
        f"corrected for {means[0].claims} comparisons)."
    )


def signed(x: Interval) -> str:
    "A difference with its interval."
    return f"{x.value:+.3f} [{x.low:+.3f}, {x.high:+.3f}]".replace("-", "−")


def finding_figure(results: Path, path: Path) -> None:
    "Differences with intervals, one line per source and score."
    pairs = [c for c in comparisons(results) if c["difference"]["low"] is not None][::-1]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    ax = figure.subplots()
    for i, c in enumerate(pairs):
        d = c["difference"]
        ax.plot([d["low"], d["high"]], [i, i], color="#0072B2", lw=2)
        ax.plot(d["value"], i, "o", color="#0072B2", ms=5)
    names = [f"{c['what'].replace('volume Dice', 'Dice per scan')}, {c['source']}" for c in pairs]
    ax.axvline(0, color="0.5", lw=1, zorder=0)
    ax.set(yticks=range(len(pairs)), yticklabels=names, xlabel="joint minus single-task training, 95 % CI")
    ax.spines[["top", "right"]].set_visible(False)
    save_once(path, figure, file_hash(results / "real_ablation" / "ablation.json")[:16])


def save_once(path: Path, figure: Figure, key: str) -> None:
    "Write a figure unless the file there was made from the same content."
    if path.exists():
        with Image.open(path) as image:
            if image.info.get("made-from") == key:
                return
    with atomic_path(path) as tmp:
        figure.savefig(tmp, format="png", dpi=130, metadata={"made-from": key})


def hero_figure(path: Path, checkpoint: Path, seed: int = 3, size: int = 128) -> None:
    "A phantom slice, its segmentation, and the Grad-CAM map of its classification."
    images, seg = phantom_volume(seed, (size, size, 16))
    z = int((seg > 0).sum((0, 1)).argmax())
    predictor = Predictor(checkpoint, "cpu")
    result = predictor.predict(images["flair"][..., z].T)
    gray, reference = result.background(0), seg[..., z].T > 0
    panels = {
        "FLAIR slice (phantom)": overlay(gray),
        "predicted and reference mask": overlay(gray, result.mask > 0, reference=reference),
        f"P(tumor) = {result.p:.2f}, Grad-CAM": result.overlay(layer="gradcam", values=predictor.explain(result)),
    }
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    for ax, (title, layer) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        ax.imshow(layer)
        ax.set_title(title, fontsize=9)
        ax.axis("off")
    save_once(path, figure, file_hash(checkpoint / "model.safetensors")[:16])


def cell_markdown(cell: dict[str, Any]) -> str:
    "One cell as Markdown; `echo: false` leaves the code out and keeps the output."
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] != "code":
        return source
    code = "\n".join(line for line in source.splitlines() if not line.startswith("#|"))
    echo = not re.search(r"^#\|\s*echo:\s*false", source, re.M)
    parts = [f"``` python\n{code}\n```"] if echo and code else []
    for output in cell.get("outputs", []):
        markdown = output.get("data", {}).get("text/markdown")
        parts.append("".join(markdown) if markdown else output_text(output))
    return "\n\n".join(parts)


def for_readme(text: str) -> str:
    "Leave out what only the site shows, and the marks around what only the README shows, as Quarto does."
    text = re.sub(r'^::: \{\.content-visible when-format="html"\}\n.*?^:::\n', "", text, flags=re.M | re.S)
    return re.sub(r'^::: \{\.content-hidden when-format="html"\}\n(.*?)^:::$', r"\1", text, flags=re.M | re.S)


def readme_text(index: Path) -> str:
    "Convert the index notebook as `nbdev_readme` does, without Quarto."
    try:
        import pypandoc
        from execnb.nbio import read_nb
        from nbdev.processors import FilterDefaults
    except ImportError as e:
        hint = 'run: pip install -c constraints.txt -e ".[dev]"'
        raise UserError("README.md is made with nbdev and pandoc", got=str(e), hint=hint) from e
    nb = read_nb(index)
    FilterDefaults()(nb)
    header, *cells = [cell_markdown(c) for c in nb.cells]
    title = re.search(r"^title: (.+)$", header, re.M)
    text = for_readme("\n\n".join(filter(None, cells)))
    options = ["--wrap=preserve"]
    body = pypandoc.convert_text(text, "gfm", format="markdown-implicit_figures", extra_args=options)
    return f"# {title[1].strip()}\n\n\n{body}" if title else body


def main(root: Path = Path(".")) -> int:
    "Run nbs/index.ipynb, clean it, and write README.md."
    from execnb.shell import CaptureShell
    from nbdev.clean import nbdev_clean

    index = root / "nbs" / "index.ipynb"
    CaptureShell(index.parent).execute(index, index, exc_stop=True)
    nbdev_clean.__wrapped__(str(index))
    with atomic_path(root / "README.md") as tmp:
        tmp.write_text(readme_text(index), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
