"The checks of .ci/run. A check that fails does not stop the others; seconds are printed, but only correctness fails."

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

repo = Path(sys.argv[1]).resolve()
shared = repo.parent / "shared"
quiet = {"CI": "true", "MPLBACKEND": "agg", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
show_and_reset = "git status --porcelain; git diff | head -50; git checkout -q .; git clean -fdq; exit 1"
clean = f'test -z "$(git status --porcelain)" || {{ {show_and_reset}; }}'
results: list[tuple[str, str]] = []  # (name, "ok" | what failed)
skipped: list[str] = []  # what could not be checked here, and why
started = time.time()


def sh(command, cwd, venv=None, limit=1200):
    "Run a bash command, its output shown; raises CalledProcessError when it fails."
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | quiet
    if venv:
        env |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{env['PATH']}"}
    subprocess.run(
        ["bash", "-c", f"set -e -o pipefail\n{command}"],
        cwd=cwd,
        env=env,
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=limit,
    )


def check(name, command, cwd, venv=None, limit=1200):
    "Run one check and note how it ended."
    begin = time.time()
    print(f"\n=== {name}", flush=True)
    try:
        command() if callable(command) else sh(command, cwd, venv, limit)
        results.append((name, "ok"))
    except (subprocess.SubprocessError, AssertionError, OSError) as e:
        results.append((name, f"{type(e).__name__}: {str(e)[:200]}"))
    print(f"=== {name}: {results[-1][1]} ({time.time() - begin:.0f} s)", flush=True)
    return results[-1][1] == "ok"


def clone(path):
    "A bare clone of the committed state."
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(repo), str(path)], check=True)
    return path


def venv(path):
    "A fresh virtual environment of the running Python."
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    return path


def one_sentence(command, cwd, where):
    "Bad input: exit code 2, one sentence on stderr, no traceback."
    env = os.environ | quiet | {"PATH": f"{where}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )
    print(done.stderr, flush=True)
    assert done.returncode == 2, f"exit code {done.returncode}, not 2"
    assert "Traceback" not in done.stderr + done.stdout, "a traceback"
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3, "not one sentence"


def no_gpu_packages(where):
    "The pins bring in no CUDA wheels, and everything installed is pinned."
    freeze = [f"{where}/bin/pip", "freeze", "--all", "--exclude-editable"]
    lines = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.lower().splitlines()
    bad = [line for line in lines if line.startswith(("nvidia", "triton", "cuda"))]
    assert not bad, f"GPU packages: {bad}"
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (repo / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    loose = {line.split("==")[0].replace("_", "-") for line in lines if "==" in line} - pinned - {"pip"}
    assert not loose, f"installed but not in constraints.txt: {sorted(loose)}"


def first_command(work):
    "README command 1, what it leaves behind, and what bad input gets."
    main, env = clone(work / "one" / "brainmtl"), venv(work / "one" / "venv")
    if not check("README 1: install", "pip install -q -c constraints.txt -e .", main, env):
        return
    check("only pinned packages, none for GPUs", lambda: no_gpu_packages(env), main)
    check("README 1: brainmtl demo", "brainmtl demo", main, env)
    check("demo again finds the work done", "brainmtl demo", main, env)
    check("demo leaves the clone clean", clean, main, env)
    check(
        "help answers without torch",
        "! python -X importtime $(which brainmtl) --help 2>&1 >/dev/null | grep ' torch$'",
        main,
        env,
    )
    check(
        "bad input: missing folder",
        lambda: one_sentence("brainmtl prepare store --brats no-such-folder", main, env),
        main,
    )
    misspelt = "brainmtl train quick --store store --run x --set joint.lamda_cls=2"
    check("bad input: misspelt recipe key", lambda: one_sentence(misspelt, main, env), main)
    if (shared / "data").is_dir():
        real_data(main, env)


def real_data(main, env):
    "Prepare all real trees that lie in ../shared, and run the cells that need them."
    trees = (
        "--brats data/raw/brats --brats brats2021=data/raw/brats2021 --lgg data/raw/lgg/kaggle_3m "
        "--folders kaggle=data/raw/kaggle --folders br35h=data/raw/br35h "
        "--negative tumor_free=data/raw/tumour_free --table cheng=data/raw/cheng/cases.csv"
    )
    globs = {
        "brats2015": "data/raw/brats2015/*/Flair_subtrMeanDivStd.nii.gz::data/raw/brats2015/*/OTMultiClass.nii.gz",
        "br35h_masks": "data/raw/br35h/yes/*::data/raw/br35h_masks/*",
        "kaggle_masks": "data/raw/kaggle/yes/*::data/raw/kaggle_masks/*",
    }
    patterns = " ".join(f"--pattern '{name}={pair}'" for name, pair in globs.items())
    prepare = f"brainmtl prepare stores/real {trees} {patterns} --folds 3 --min-groups 1 "
    prepare += "--cases results/reference/cases.txt"
    if not check("real data: unpack", f"python {shared}/bin/unpack-data data/raw", main, env):
        return
    check("real data: prepare", prepare, main, env)
    check("real data: second prepare finds nothing to do", prepare, main, env)
    check("real data: audit", "brainmtl audit stores/real", main, env)
    again = "brainmtl evaluate checkpoints/reference/folds/0-0 --store stores/real --out again --scores-only"
    if check("real data: score the network of fold 0", again, main, env):
        check(
            "real data: it scores as results/reference says",
            lambda: same_scores(main / "again", main / "results/reference/folds/0-0"),
            main,
        )


def same_scores(again, published):
    "Volume Dice and AUC of every source agree to 0.01, which is more than another processor's bfloat16 changes."
    new, old = (json.loads((folder / "evaluation.json").read_text()) for folder in (again, published))
    assert new["split"]["hash"] == old["split"]["hash"], "another split of the patients"
    for task, names in (("segmentation", ("volume", "dice")), ("classification", ("auc",))):
        for source, scores in old[task]["sources"].items():
            values = []
            for found in (new[task]["sources"][source], scores):
                for name in names:
                    found = (found or {}).get(name)
                values.append((found or {}).get("value"))
            print(source, *names, *values, flush=True)
            assert values[0] == values[1] or abs(values[0] - values[1]) <= 0.01, (
                f"{source}: {values[0]} instead of {values[1]}"
            )


def wheel(work):
    "A wheel holds the package and the reference model, no tools, and works in an empty venv outside the clone."
    main, env, away = clone(work / "wheel" / "brainmtl"), venv(work / "wheel" / "venv"), work / "wheel" / "away"
    away.mkdir()
    if not check("wheel: build", f"pip wheel -q --no-deps -w {away} .", main, env):
        return
    (built,) = away.glob("*.whl")
    check("wheel: no tools, no benchmarks, one command", lambda: wheel_content(built), main)
    if check("wheel: install in an empty venv", f"pip install -q -c {main}/constraints.txt {built}", away, env):
        check("wheel: brainmtl demo outside the clone", "brainmtl demo", away, env)
        check("wheel: two lines of Python predict a phantom", f"python -c '{TWO_LINES}'", away, env)


TWO_LINES = """from brainmtl import Predictor; from brainmtl.data.phantom import phantom_volume
print(Predictor()(phantom_volume(3)[0]["flair"]))"""


def wheel_content(built):
    "Names in the wheel."
    names = zipfile.ZipFile(built).namelist()
    wrong = [n for n in names if n.split("/")[0] not in ("brainmtl",) and ".dist-info/" not in n]
    assert not wrong, wrong[:5]
    (entry,) = [n for n in names if n.endswith("entry_points.txt")]
    scripts = zipfile.ZipFile(built).read(entry).decode()
    assert scripts.count("=") == 2 and "brainmtl = brainmtl.cli:main" in scripts, scripts


def second_command(work):
    "README command 2, and the conventions: clean, exported, README, lint, types."
    main, env = clone(work / "two" / "brainmtl"), venv(work / "two" / "venv")
    if not check("README 2: install", 'pip install -q -c constraints.txt -e ".[dev]"', main, env):
        return
    check("only pinned packages with dev, none for GPUs", lambda: no_gpu_packages(env), main)
    covered = 'coverage run "$(which nbdev_test)" --timing && coverage combine -q && coverage report | tail -30'
    check("README 2: nbdev_test", covered, main, env)
    check("tests leave the clone clean", clean, main, env)
    check("nbdev_clean leaves no diff", f"nbdev_clean\n{clean}", main, env)
    check("nbdev_export leaves no diff", f"nbdev_export\n{clean}", main, env)
    check("README.md is made from index.ipynb", f"python -m tools.readme\n{clean}", main, env)
    check("conventions: planted faults are found", "python -m tools.selftest", main, env)
    conventions(main, env)
    check("ruff", "ruff check . && ruff format --check .", main, env)
    check("mypy", "mypy", main, env)
    check(
        "notebooks process for the site",
        f"python -c 'from nbdev.serve import proc_nbs; proc_nbs()'\n{clean}",
        main,
        env,
    )
    check("slow cells", f"nbdev_test --timing --flags slow --file_re '{flagged(main, 'slow')}'", main, env, limit=2400)
    check("benchmarks run", "python -m benchmarks.run --quick > /dev/null", main, env)
    browser(main, env)
    if (shared / "data").is_dir():
        unpack = f"python {shared}/bin/unpack-data data/raw"
        data = f"nbdev_test --timing --flags data --file_re '{flagged(main, 'data')}'"
        check("cells on real data", f"{unpack} && {data}", main, env, limit=2400)


def flagged(main, flag):
    "A pattern for the notebooks that have cells with a flag."
    has = re.compile(rf'"#\|\s*{flag}\b')
    names = sorted(p.stem for p in (main / "nbs").rglob("*.ipynb") if has.search(p.read_text(encoding="utf-8")))
    assert names, f"no notebook has {flag} cells"
    return rf"^({'|'.join(names)})\.ipynb$"


def browser(main, env):
    "Page and inspector in a real browser; Debian's Chromium is installed where it is absent and root may."
    have = "python -c 'from tools.browser import find_browser; exit(not find_browser())'"
    install = "apt-get update -q && apt-get install -q -y --no-install-recommends chromium chromium-driver"
    for command in (
        have,
        f"{{ {install}; }} >&2 && {have}" if os.geteuid() == 0 and shutil.which("apt-get") else "false",
    ):
        try:
            sh(command, main, env)
        except subprocess.SubprocessError:
            continue
        if shutil.which("npm"):
            axe = "npm install --no-save --no-audit --no-fund axe-core@4.14.1"
            check("axe-core, the accessibility checks", axe, main, env)
        else:
            skipped.append("accessibility with axe-core: no npm")
        tests = f"nbdev_test --timing --flags browser --file_re '{flagged(main, 'browser')}'"
        check("page and inspector in a browser", tests, main, env, limit=3600)
        return
    skipped.append("page and inspector in a browser: no chromium with chromedriver, and none can be installed")


def conventions(main, env):
    "Each convention of tools/lint.py counts as a check."
    code = "import json; from pathlib import Path; from tools.lint import check; print(json.dumps(check(Path('.'))))"
    done = subprocess.run([f"{env}/bin/python", "-c", code], cwd=main, capture_output=True, text=True)
    if done.returncode:
        check("conventions", f"echo {done.stderr[-200:]!r}; false", main)
        return
    for rule, lines in json.loads(done.stdout).items():
        check(f"conventions: {rule.replace('_', ' ')}", lambda lines=lines: show(lines), main)


def show(lines):
    "Print the violations of one rule and fail when there are any."
    print("\n".join(lines), flush=True)
    assert not lines, f"{len(lines)} violations"


with tempfile.TemporaryDirectory(prefix="brainmtl-ci-") as tmp:
    first_command(Path(tmp))
    shutil.rmtree(Path(tmp) / "one", ignore_errors=True)
    wheel(Path(tmp))
    shutil.rmtree(Path(tmp) / "wheel", ignore_errors=True)
    second_command(Path(tmp))
failed = [(name, how) for name, how in results if how != "ok"]
print(f"\n{time.time() - started:.0f} s in all")
for line in skipped:
    print(f"SKIPPED {line}")
for name, how in failed:
    print(f"FAILED {name}: {how}")
print(f"{len(results) - len(failed)} passed, {len(failed)} failed", flush=True)
sys.exit(bool(failed) or not results)
