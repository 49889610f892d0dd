"Tables for the page on file formats: version numbers and recipe keys, read from the code."

from pydantic import BaseModel

from brainmtl.data.duplicates import DUPLICATES_VERSION
from brainmtl.data.preprocess import PREPROCESS_VERSION
from brainmtl.data.store import STORE_VERSION
from brainmtl.evaluation.baselines import BASELINES_VERSION
from brainmtl.evaluation.calibrate import CALIBRATION_VERSION
from brainmtl.evaluation.evaluate import EVALUATION_VERSION
from brainmtl.evaluation.gradcam import GRADCAM_VERSION
from brainmtl.evaluation.uncertainty import UNCERTAINTY_VERSION
from brainmtl.experiments.ablation import ABLATION_VERSION
from brainmtl.experiments.crossval import CROSSVAL_VERSION
from brainmtl.experiments.tables import markdown_table
from brainmtl.models.model import CHECKPOINT_VERSION

AGAIN = "run `brainmtl {}` again"
FORMATS: dict[str, tuple[int, str]] = {  # what is versioned: its number, and what happens to another one
    "prepared slices": (PREPROCESS_VERSION, "`brainmtl prepare` makes the cases again"),
    "groups of near-duplicates": (DUPLICATES_VERSION, "`brainmtl prepare` finds them again"),
    "store.json": (STORE_VERSION, "refused: prepare the store again"),
    "model.json": (CHECKPOINT_VERSION, "refused: train or export again"),
    "evaluation.json": (EVALUATION_VERSION, AGAIN.format("evaluate")),
    "baselines.json, probes.json": (BASELINES_VERSION, AGAIN.format("evaluate")),
    "calibration.json": (CALIBRATION_VERSION, AGAIN.format("evaluate")),
    "uncertainty.json": (UNCERTAINTY_VERSION, AGAIN.format("evaluate")),
    "gradcam.json": (GRADCAM_VERSION, AGAIN.format("evaluate")),
    "ablation.json, stages.json": (ABLATION_VERSION, AGAIN.format("ablate")),
    "crossval.json": (CROSSVAL_VERSION, AGAIN.format("crossval")),
}


def version_table() -> str:
    "Markdown table of everything that carries a version number."
    return markdown_table(
        [{"What": name, "Version": number, "Another version": then} for name, (number, then) in FORMATS.items()]
    )


def field_table(config: type[BaseModel]) -> str:
    "Markdown table of the keys of one part of a recipe."
    rows = []
    for key, field in config.model_fields.items():
        kind = str(getattr(field.annotation, "__name__", field.annotation)).replace("typing.", "")
        default = "required" if field.is_required() else field.default
        rows.append({"Key": f"`{key}`", "Type": kind, "Default": default})
    return markdown_table(rows)
