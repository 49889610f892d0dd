"""Make the results of a run fit for publication: a list of its cases, pseudonyms in every table, and no table twice.

python -m tools.publish results/RUN
"""

import sys
from pathlib import Path

import pandas as pd

from brainmtl.data.cases import write_case_list
from brainmtl.files import atomic_path

NAMES = {"patient": "patient", "case": "case", "group": "group"}  # column → first part of its pseudonyms


def tables(folder: Path) -> dict[Path, pd.DataFrame]:
    "Every CSV of a run that names patients, cases or groups, as text."
    found = {path: pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(folder.rglob("*.csv"))}
    return {path: table for path, table in found.items() if set(table) & set(NAMES)}


def pseudonyms(values: set[str], kind: str) -> dict[str, str]:
    "Number names in alphabetical order."
    width = max(3, len(str(len(values))))
    return {name: f"{kind}-{i:0{width}d}" for i, name in enumerate(sorted(values), 1)}


def publish(folder: Path) -> None:
    "Remove the tables of folds, which stand together in the run's own, and rename everyone in the others."
    for path in folder.glob("folds/*/*.csv"):
        path.unlink()
    for path in folder.glob("folds/*/reliability.png"):
        path.unlink()
    found = tables(folder)
    if not (folder / "cases.txt").exists():
        write_case_list(folder / "cases.txt", found[folder / "slices.csv"].case)
    names = {c: {v for t in found.values() if c in t for v in t[c] if v} for c in NAMES}
    for column, values in names.items():
        if all(v.startswith(f"{NAMES[column]}-") and v[-3:].isdigit() for v in values):
            continue  # published before
        new = pseudonyms(values, NAMES[column])
        for table in found.values():
            if column in table:
                table[column] = table[column].replace(new)
    for path, table in found.items():
        with atomic_path(path) as tmp:
            table.to_csv(tmp, index=False)


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
