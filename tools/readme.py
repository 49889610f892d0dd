"""Make README.md from the index notebook, with tables that come from the result files and from the notebooks themselves."""

import argparse, csv, re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from brainmtl.evaluation.evaluate import format_interval
from brainmtl.files import UserError, atomic_path, file_hash, read_json
from brainmtl.data.phantom import phantom_volume
from brainmtl.experiments.report import get_path, markdown_table, score_text
from brainmtl.inference.predict import PredictionResult, Predictor, blend
from tools.house import Notebook, output_text, read_book


def title_and_sentence(
    nb: Notebook,  # one library notebook
) -> tuple[str, str]:  # H1 title; the sentence below it
    "Read the title of a notebook and its one-sentence summary; two empty strings when it has none."
    text = next((c.source for c in nb.cells if c.kind == "markdown"), "")
    found = re.match(r"# (.+)\s*\n\s*>\s*(.+)", text)
    return (found[1].strip(), found[2].strip()) if found else ("", "")


def notebook_table(
    nbs: Path,  # folder of the notebooks
) -> str:  # Markdown table, one line per notebook
    "List the library notebooks with their module and their sentence."
    book = read_book(nbs)
    rows = [f"| `{nb.path.stem}` | {title_and_sentence(nb)[1]} |" for nb in book]
    return "\n".join(["| Notebook | What it is for |", "|---|---|", *rows])


SCORES = {
    "Dice per patient volume": ("segmentation.sources.{}.volume.dice", "segmentation.macro.volume_dice"),
    "AUC": ("classification.sources.{}.auc", "classification.macro.auc"),
    "Sensitivity": ("classification.sources.{}.sensitivity", "classification.macro.sensitivity"),
    "Specificity": ("classification.sources.{}.specificity", "classification.macro.specificity"),
}


def score_table(
    result: dict,  # content of evaluation.json
) -> str:  # Markdown table, one line per source and the mean over sources
    "Tabulate the headline scores of one evaluation."
    places = {f"{s}, not trained on" if s in result.get("external", ()) else s: (0, s) for s in result["n"]["sources"]}
    places["**mean over sources**"] = (1, "")

    def line(k, s):
        return {score: score_text(get_path(result, p[k].format(s))) for score, p in SCORES.items()}

    return markdown_table([{"Source": name, **line(*place)} for name, place in places.items()])


PUBLISHED = "reference"  # the run that the front page shows; others answer other questions, or stay on the machine that made them


def results_text(
    results: Path,  # folder with one folder per run
) -> str:  # Markdown: the table of one run, or a sentence when there is none
    "Tabulate the published run from its `evaluation.json`."
    folder = Path(results) / PUBLISHED
    if not (folder / "evaluation.json").exists():
        return "No run is published yet."
    result = read_json(folder / "evaluation.json")
    title = f"Run `{folder.name}`, scored on its {get_path(result, 'split.part')} split (`results/{folder.name}/evaluation.json`):"
    return f"{title}\n\n{score_table(result)}"


def measured(
    folder: Path,  # of one run's results
    file: str,  # name of the result file in it
    place: str,  # dotted keys, or "comparisons:VARIANT:SCORE:SOURCE" in ablation.json
) -> dict | None:  # INTERVAL; None when it has not been measured
    "Look up one score."
    if not (Path(folder) / file).exists():
        return None
    result = read_json(Path(folder) / file)
    if not place.startswith("comparisons:"):
        return get_path(result, place)  # type: ignore[return-value]
    wanted = tuple(place.split(":")[1:])
    return next((c["difference"] for c in result["comparisons"] if (c["b"], c["what"], c["source"]) == wanted), None)


def best_baseline(
    folder: Path,  # of one run's results
    place: str,  # dotted keys in an evaluation
) -> str:  # value and name of the trivial rule that does best; a dash when none has the score
    "Look up what needs no network; of equal rules the first."
    rules = (
        read_json(Path(folder) / "baselines.json")["baselines"] if (Path(folder) / "baselines.json").exists() else {}
    )
    found = {name: get_path(rule["evaluation"], f"{place}.value") for name, rule in rules.items()}
    there = {name: value for name, value in found.items() if isinstance(value, float)}
    best = max(there, key=there.__getitem__, default="")
    return f"{there[best]:.2f} ({best})" if best else "–"


def target_table(
    results: Path,  # folder with targets.csv and one folder per run
) -> str:  # Markdown table: measured, trivial, others, target
    "Set every score that was aimed at beside what was measured; what was not measured says so."
    with (Path(results) / "targets.csv").open(encoding="utf-8", newline="") as f:
        lines = list(csv.DictReader(f))
    rows, home = [], Path(results) / PUBLISHED
    for t in lines:
        folder = Path(results) / t["run"] if t["run"] else home
        score = measured(folder, t["file"], t["place"])
        trivial = (
            best_baseline(home, t["place"]) if t["target"].startswith("≥") and t["file"] == "evaluation.json" else "–"
        )
        if luck := measured(folder, t["file"], f"{t['place']}_by_chance"):
            trivial = f"{format_interval(luck)} by chance, when calibrated"
        value = score_text(score, 3 if t["place"].startswith("comparisons:") else 2) if score else "not measured"
        rows.append(
            {
                "Score": t["score"],
                "Measured [95 % interval]": value,
                "Best trivial rule": trivial,
                "Prior or peers": t["prior"],
                "Target": t["target"],
            }
        )
    return markdown_table(rows)


def sharing_text(
    results: Path,  # folder with one folder per run
    run: str = "real_ablation",  # the run of the controls
) -> str:  # Markdown list, one verdict per line, or a sentence when there is none
    "Say whether sharing helps: the verdicts of the ablation against both single-task controls."
    path = Path(results) / run / "ablation.json"
    if not path.exists():
        return "The controls have not been published yet."
    wanted = {"seg_only": ("volume Dice",), "cls_only": ("AUC", "balanced accuracy")}
    return "\n".join(
        f"- {c['sentence']}." for c in read_json(path)["comparisons"] if c["what"] in wanted.get(c["b"], ())
    )


def drawn_by(
    path: Path,  # a PNG of `front_picture`
) -> str:  # the hash in it; empty when there is no such image
    "Read which weights drew a image."
    if not Path(path).exists():
        return ""
    with Image.open(path) as image:
        return str(image.info.get("weights", ""))


def front_image(
    path: Path,  # PNG to write
    checkpoint: Path,  # folder of a joint stage
    seed: int = 3,  # of the synthetic patient
    size: int = 128,  # voxels across
) -> bool:  # was it drawn now? False: it was there, drawn by the same weights
    "Draw a synthetic slice with true and drawn mask, mask probability and Grad-CAM."
    weights = file_hash(Path(checkpoint) / "model.safetensors")[:16]
    if drawn_by(path) == weights:
        return False
    images, seg = phantom_volume(seed, (size, size, 16))
    z = int((seg > 0).sum((0, 1)).argmax())
    predict_batch = Predictor(checkpoint, "cpu")
    result = predict_batch.predict(images["flair"][..., z].T)
    with atomic_path(Path(path)) as tmp:
        _draw(result, seg[..., z].T > 0, predict_batch.explain(result)).savefig(
            tmp, format="png", dpi=80, metadata={"weights": weights}
        )
    return True


def _draw(result: PredictionResult, truth: np.ndarray, cam: np.ndarray) -> Figure:
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    layers = {
        "a synthetic slice": None,
        "where: drawn mask, true outline": result.plane(result.drawn[0]),
        "probability of each pixel": result.plane(result.seg[0]),
        f"is there one: P(tumor) = {result.p:.2f}\nGrad-CAM: what this rests on": result.plane(cam),
    }
    for ax, (title, layer) in zip(figure.subplots(1, 4), layers.items()):
        ax.imshow(result.background(0) if layer is None else blend(result.background(0), layer, alpha=0.6))
        if title.startswith("where"):
            ax.contour(truth, [0.5], colors="white", linewidths=0.8)
        if layer is None:
            ax.images[0].set_cmap("gray")
        ax.set_title(title, fontsize=9)
        ax.axis("off")
    return figure


def cell_markdown(
    cell: dict,  # a processed notebook cell
) -> str:  # Markdown
    "Turn one cell into Markdown; `echo: false` leaves the code out and keeps the output."
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] != "code":
        return source
    lines = source.splitlines()
    code = "\n".join(line for line in lines if not line.startswith("#|"))
    echo = not any(line.replace(" ", "") == "#|echo:false" for line in lines)
    parts = [f"``` python\n{code}\n```"] if echo and code else []
    for output in cell.get("outputs", []):
        markdown = output.get("data", {}).get("text/markdown")
        parts.append(
            "".join(markdown)
            if markdown
            else "\n".join(f"    {line}" for line in output_text(output).strip("\n").splitlines())
        )
    return "\n\n".join(parts)


def readme_text(
    index: Path,  # the index notebook, outputs stored
) -> str:  # the whole README
    "Convert the index notebook as `nbdev_readme` does, without Quarto; needs the `dev` extra."
    try:
        import pypandoc
        from execnb.nbio import read_nb
        from nbdev.processors import FilterDefaults
    except ImportError:
        raise UserError(
            "brainmtl-readme needs nbdev and pandoc", hint='run: pip install -c constraints.txt -e ".[dev]"'
        ) from None
    nb = read_nb(index)
    FilterDefaults()(nb)
    header, *cells = [cell_markdown(c) for c in nb.cells]
    title = re.search(r"^title: (.+)$", header, re.M)
    body = pypandoc.convert_text(
        "\n\n".join(filter(None, cells)), "gfm", format="markdown-implicit_figures", extra_args=["--wrap=preserve"]
    )
    body = re.sub(r"\]\((?=images/|tutorials/|[\w.]+\.ipynb)", "](nbs/", body).replace("](../", "](")
    return f"# {title[1].strip()}\n\n\n{body}" if title else body


def refresh(
    index: Path,  # the index notebook
) -> None:
    "Run the index notebook in place and clean it, so that its tables come from today's files."
    from execnb.shell import CaptureShell
    from nbdev.clean import nbdev_clean

    CaptureShell(index.parent).execute(index, index, exc_stop=True)
    nbdev_clean.__wrapped__(str(index))


def main(
    argv: list[str] | None = None,  # arguments; those of the command line when None
) -> None:
    "Write README.md from nbs/index.ipynb; for the command `brainmtl-readme`."
    parser = argparse.ArgumentParser(
        prog="brainmtl-readme", description="Run nbs/index.ipynb and write README.md from it."
    )
    parser.add_argument(
        "root", nargs="?", type=Path, default=Path("."), help="the repository, by default the current folder"
    )
    root = parser.parse_args(argv).root
    refresh(root / "nbs" / "index.ipynb")
    with atomic_path(root / "README.md") as tmp:
        tmp.write_text(readme_text(root / "nbs" / "index.ipynb"), encoding="utf-8")
