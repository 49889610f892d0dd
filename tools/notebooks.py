"Read the repository's notebooks: cells, directives, exported code."

import ast
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDERS = ("", "data", "models", "training", "inference", "evaluation", "experiments", "apps")  # top to bottom


@dataclass(frozen=True)
class Cell:
    "One notebook cell: kind, nbdev directives, and the source below them."

    index: int
    kind: str  # "code" or "markdown"
    directives: tuple[str, ...]
    source: str
    outputs: list[dict[str, Any]]

    def has(self, name: str) -> bool:
        "Check for a directive by its first word."
        return any(d.replace(":", " ").split()[0] == name for d in self.directives if d)

    @property
    def exported(self) -> bool:
        "Check whether nbdev writes this cell into the module."
        return self.kind == "code" and any(map(self.has, ("export", "exporti", "exports")))


@dataclass(frozen=True)
class Notebook:
    "A parsed notebook."

    path: Path
    cells: tuple[Cell, ...]

    @property
    def module(self) -> str:
        "Dotted module it exports to, for example 'data.store'; empty for none."
        return next((d.split()[1] for c in self.cells for d in c.directives if d.startswith("default_exp ")), "")

    @property
    def folder(self) -> str:
        "Folder of its module; empty for the top level."
        return self.module.rpartition(".")[0]

    @property
    def markdown(self) -> str:
        "All prose."
        return "\n\n".join(c.source for c in self.cells if c.kind == "markdown")

    @cached_property
    def tree(self) -> list[tuple[Cell, ast.Module]]:
        "Exported cells with their syntax trees."
        return [(c, ast.parse(c.source)) for c in self.cells if c.exported]


def read_notebook(path: Path) -> Notebook:
    "Parse one notebook; leading `#| …` lines become directives."
    cells = []
    for i, raw in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        lines = "".join(raw["source"]).splitlines()
        n = 0
        while raw["cell_type"] == "code" and n < len(lines) and lines[n].startswith("#|"):
            n += 1
        directives = tuple(line[2:].strip() for line in lines[:n])
        cells.append(Cell(i, raw["cell_type"], directives, "\n".join(lines[n:]).strip("\n"), raw.get("outputs", [])))
    return Notebook(path, tuple(cells))


def read_library(root: Path) -> list[Notebook]:
    "Parse the numbered notebooks in the order of their numbers."
    paths = [p for p in (root / "nbs").rglob("[0-9]*.ipynb") if p.parent.name != "tutorials"]
    return [read_notebook(p) for p in sorted(paths, key=lambda p: p.name)]


def read_tutorials(root: Path) -> list[Notebook]:
    "Parse the tutorials."
    return [read_notebook(p) for p in sorted((root / "nbs" / "tutorials").glob("*.ipynb"))]


def output_text(output: dict[str, Any]) -> str:
    "Text of a stored output."
    texts = [output.get("text", "")] + [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join("".join(t) for t in texts + output.get("traceback", []))
