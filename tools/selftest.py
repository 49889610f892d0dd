"""Check the checks: every rule of tools/lint.py finds a planted fault, and is silent on a sound notebook; API
pages show the fields of every class.

python -m tools.selftest
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools import lint
from tools.docs import unshown_fields
from tools.notebooks import read_library

SOUND = [
    "#| default_exp data.first",
    "# First\n\n> One sentence that says what it does.",
    "Why it exists.",
    "#| export\ndef twice(\n    x: int,  # any number\n) -> int:  # two times `x`\n"
    '    "Double a number."\n    return 2 * x',
    "assert twice(2) == 4",
    "## What could go wrong\n\nNothing.",
    "#| hide\nimport nbdev\n\nnbdev.nbdev_export" + "()",
]


def cell(source: str, **more: Any) -> dict[str, Any]:
    "A raw cell; what starts like prose is Markdown."
    code = not source[0].isalpha() and not source.startswith(("# ", "## ")) or source.startswith(("assert", "import"))
    kind = "code" if code else "markdown"
    return {"cell_type": kind, "metadata": {}, "source": source, **({"outputs": []} if code else {}), **more}


def repository(root: Path, cells: list[Any], name: str = "11_first", folder: str = "data") -> Path:
    "A repository with one notebook."
    (root / "nbs" / folder).mkdir(parents=True, exist_ok=True)
    (root / "brainmtl" / folder).mkdir(parents=True, exist_ok=True)
    raw = {"cells": [c if isinstance(c, dict) else cell(c) for c in cells]}
    (root / "nbs" / folder / f"{name}.ipynb").write_text(json.dumps(raw), encoding="utf-8")
    module = name.split("_", 1)[1]
    (root / "brainmtl" / folder / f"{module}.py").write_text("")
    (root / "settings.ini").write_text("[DEFAULT]\nrequirements = numpy\n")
    return root


def changed(old: int, new: str | dict[str, Any]) -> list[Any]:
    "The sound notebook with one cell replaced."
    return [new if i == old else c for i, c in enumerate(SOUND)]


FUNCTION = SOUND[3]
LONG = '#| export\ndef f() -> None:\n    "Do a lot."\n' + "    print()\n" * 21
PLANTED: dict[str, list[Any]] = {
    "module_size": changed(3, '#| export\ndef f() -> None:\n    "Do a lot."\n' + "    print()\n" * 351),
    "no_walls": [*SOUND[:3], LONG, LONG.replace("f()", "g()"), LONG.replace("f()", "h()"), *SOUND[4:]],
    "form": changed(1, "# First"),
    "imports_alone": changed(4, "import os\nassert os.sep"),
    "figures_have_alt_text": changed(4, cell("assert 1", outputs=[{"data": {"image/png": "…"}}])),
    "stable_outputs": changed(4, cell("assert 1", outputs=[{"text": "saved to /tmp/x"}])),
    "documented": changed(3, '#| export\ndef twice(x: int) -> int:\n    "Double."\n    return 2 * x'),
    "refusals_say_why": changed(4, "assert twice(2) == 4\ntest_fail(twice)"),
    "words": changed(2, "The tumour is large."),
    "banned_code": changed(3, FUNCTION + "\n\n\nfrom os import *"),
    "declared_imports": changed(3, "#| export\nimport pandas"),
    "links_resolve": changed(2, "See [nothing](nowhere.ipynb)."),
    "placed": SOUND,
}


def main() -> int:
    "Run every planted fault."
    for rule, cells in PLANTED.items():
        with tempfile.TemporaryDirectory() as tmp:
            root = repository(Path(tmp), cells)
            found = list(getattr(lint, rule)(root, read_library(root)))
            assert found, f"{rule} misses its planted fault"
        with tempfile.TemporaryDirectory() as tmp:
            root = repository(Path(tmp), SOUND)
            found = list(getattr(lint, rule)(root, read_library(root)))
            assert rule == "placed" or not found, f"{rule} complains about a sound notebook: {found}"
    with tempfile.TemporaryDirectory() as tmp:  # a folder that imports from one below it
        root = repository(Path(tmp), SOUND)
        late = changed(3, "#| export\nfrom brainmtl.apps.late import f")
        repository(root, [late[0].replace("first", "early"), *late[1:]], "12_early")
        repository(root, [SOUND[0].replace("data.first", "apps.late"), *SOUND[1:]], "80_late", "apps")
        assert len(list(lint.imports_go_one_way(root, read_library(root)))) == 2
        (root / "brainmtl" / "data" / "orphan.py").write_text("")
        assert len(list(lint.orphans(root, read_library(root)))) == 1
    assert not (missing := list(unshown_fields())), f"API pages do not show {missing}"
    print(f"{len(PLANTED) + 2} rules find their planted faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
