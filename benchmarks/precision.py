"""Does bfloat16 change what is learned? Train in both precisions and compare."""

from itertools import combinations, product
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from brainmtl.recipe import Recipe, override
from brainmtl.runtime import choose_runtime
from brainmtl.training.stages import run_training
from brainmtl.data.store import Store
from benchmarks.timing import spread


PRECISIONS = ("fp32", "bf16")


def train_in_both(
    recipe: Recipe,  # what to train
    store: Store,  # prepared slices
    folder: str | Path,  # where checkpoints and histories go
    seeds: int = 3,  # runs in each precision
) -> pd.DataFrame:  # one line per validation: precision, seed, stage, step, dice, auc
    "Train a recipe on the CPU in float32 and in bfloat16, each with the same seeds."
    lines = []
    for seed, precision in product(range(seeds), PRECISIONS):
        run = f"{precision}-{seed}"
        run_training(
            override(recipe, [f"seed={seed}"]), store, run, folder, runtime=choose_runtime("cpu", precision), show=False
        )
        lines.append(pd.read_csv(Path(folder) / "results" / run / "history.csv").assign(precision=precision, seed=seed))
    history = pd.concat(lines, ignore_index=True).rename(columns={"val_dice": "dice", "val_auc": "auc"})
    return history.reindex(columns=["precision", "seed", "stage", "step", "dice", "auc"])


def precision_effect(
    curves: pd.DataFrame,  # from `train_in_both`
    score: str,  # "dice" or "auc"
) -> dict:  # "shift": bf16 minus fp32 over the curve; "precision", "seed": median distance of two curves
    "Set the distance between two precisions of the same seed beside that between two seeds of the same precision."
    known = curves.dropna(subset=score)
    table = known.pivot_table(index=["stage", "step"], columns=["precision", "seed"], values=score)
    shifts = table["bf16"] - table["fp32"]
    others = [table[p][a] - table[p][b] for p in PRECISIONS for a, b in combinations(sorted(set(known.seed)), 2)]
    return {
        "shift": spread(shifts.mean().tolist()),
        "precision": float(np.nanmedian(shifts.abs())),
        "seed": float(np.nanmedian(np.abs(pd.concat(others)))),
    }


def plot_precisions(
    curves: pd.DataFrame,  # from `train_in_both`
) -> Figure:  # Dice on the left, AUC on the right
    "Draw the range over seeds in each precision, stage after stage."
    fig, axes = plt.subplots(1, 2, figsize=(8, 2.6))
    ends = curves.groupby("stage", sort=False).step.max().cumsum().shift(fill_value=0)
    placed = curves.assign(x=curves.step + curves.stage.map(ends))
    for ax, score in zip(axes, ("dice", "auc")):
        for (precision, lines), color in zip(
            placed.dropna(subset=score).groupby("precision"), ("tab:orange", "tab:blue")
        ):
            by = lines.groupby("x")[score]
            ax.fill_between(by.min().index, by.min(), by.max(), color=color, alpha=0.3, lw=0)
            ax.plot(by.mean(), color=color, marker=".", label=precision)
        ax.set(xlabel="step", ylabel=f"validation {score}")
        ax.legend(fontsize=8)
    fig.tight_layout()
    return fig
