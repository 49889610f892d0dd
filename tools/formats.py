"""What a store, a split, a recipe, a checkpoint and the result files hold, under which version number, and what happens when it changes."""

from pydantic import BaseModel

from brainmtl.experiments import ablation, crossval

from brainmtl.evaluation import baselines, calibrate, evaluate, gradcam, uncertainty

from brainmtl.models import model

from brainmtl.data import store
from brainmtl.experiments.report import markdown_table


FORMATS = {  # file: (its room, what happens to a file of another version)
    "store.json": (store, "refused; delete the store and prepare again"),
    "model.json": (model, "refused; train or export again"),
    "evaluation.json": (evaluate, "run `brainmtl evaluate` again"),
    "baselines.json, probes.json": (baselines, "run `brainmtl evaluate` again"),
    "calibration.json": (calibrate, "run `brainmtl evaluate` again"),
    "uncertainty.json": (uncertainty, "run `brainmtl evaluate` again"),
    "gradcam.json": (gradcam, "run `brainmtl evaluate` again"),
    "ablation.json, stages.json": (ablation, "run `brainmtl ablate` again"),
    "crossval.json": (crossval, "run `brainmtl crossval` again"),
}


def version_table() -> str:  # Markdown table: file, version, what a change does
    "List the versioned files with the number that the code has now."

    def number(room):
        return getattr(room, "FORMAT_VERSION", None) or room.VERSION

    return markdown_table(
        [
            {"File": f"`{name}`", "Version": number(room), "A file of another version": then}
            for name, (room, then) in FORMATS.items()
        ]
    )


def field_table(
    config: type[BaseModel],  # a part of the recipe
) -> str:  # Markdown table: key, type, default
    "List the keys of one part of a recipe."

    def kind(f):
        return str(getattr(f.annotation, "__name__", f.annotation)).replace("typing.", "")

    rows = [
        {"Key": f"`{k}`", "Type": kind(f), "Default": "required" if f.is_required() else f.default}
        for k, f in config.model_fields.items()
    ]
    return markdown_table(rows)
