"""Golden hashes: committed hashes of what a step makes of fixed inputs; no output changes without a new version."""

import json
import os
from pathlib import Path
from typing import Any

WRITE = "BRAINMTL_GOLDEN"  # environment variable; `write` accepts the present hashes


def check_golden(
    path: str | Path,  # committed JSON file, beside the notebook
    name: str,  # of the version constant, for the message
    version: int,  # its present value
    hashes: dict[str, tuple[str, str]],  # case → hash of the input, hash of the output
) -> None:
    "Compare with the committed hashes; raises `AssertionError` with a sentence that tells what to do."
    path = Path(path)
    now: dict[str, Any] = {"version": version, "cases": {case: list(pair) for case, pair in hashes.items()}}
    nothing: dict[str, Any] = {"version": None, "cases": {}}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else nothing
    if now == known:
        return
    both = known["cases"].keys() & now["cases"].keys()
    changed = sorted(
        c for c in both if now["cases"][c][0] == known["cases"][c][0] and now["cases"][c] != known["cases"][c]
    )
    if changed and version == known["version"]:
        raise AssertionError(
            f"the output changed for {', '.join(changed)}, but {name} is still {version}: raise it, then run this "
            f"notebook with {WRITE}=write and commit {path.name}"
        )
    if os.environ.get(WRITE) != "write":
        why = (
            f"{name} is {version}, the hashes are of {known['version']}"
            if version != known["version"]
            else "the inputs changed, not the step"
        )
        raise AssertionError(
            f"{path.name} is out of date ({why}): run this notebook with {WRITE}=write and commit the file"
        )
    path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
