"""Check the conventions of the notebooks: one direction of imports, size, form, documentation, words, outputs, links.

python -m tools.lint            one line per rule, and what breaks it; exit code 1 when a rule is broken
python -m tools.lint --fix      first write breadcrumbs and sidebar
"""

import argparse
import ast
import configparser
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tools.notebooks import FOLDERS, Cell, Notebook, output_text, read_library, read_notebook, read_tutorials

MODULE_LINES = 350  # code lines of a module; more of them do two jobs
WALL = 2, 40  # exported cells, exported lines: a run that is longer in both needs an assertion between
FUNCTION_LINES = 60  # a formatter puts each documented parameter on its own line
NOTEBOOK_BYTES = 1_500_000  # figures included, so that a page loads on a phone
FLOORS = 8  # longest chain of imports between folders


def at(nb: Notebook, cell: Cell, what: str) -> str:
    return f"{nb.path.name} cell {cell.index}: {what}"


# --- imports ---------------------------------------------------------------------------------------------------------


def own_imports(tree: ast.AST) -> Iterator[str]:
    "Dotted modules of this package that a tree imports, without the leading `brainmtl.`."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "brainmtl":
            base = (node.module or "").removeprefix("brainmtl").removeprefix(".")
            yield from ([base] if base else [a.name for a in node.names])
            yield from (f"{base}.{a.name}".strip(".") for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("brainmtl.") for a in node.names if a.name.startswith("brainmtl."))


def edges(book: list[Notebook]) -> list[tuple[Notebook, Cell, str]]:
    "Every import of one module by another."
    modules = {nb.module for nb in book}
    return [(nb, c, m) for nb in book for c, tree in nb.tree for m in set(own_imports(tree)) if m in modules]


def imports_go_one_way(root: Path, book: list[Notebook]) -> Iterator[str]:
    "A module imports only modules of smaller number, and a folder only folders above it."
    number = {nb.module: i for i, nb in enumerate(book)}
    for nb, cell, module in edges(book):
        here, there = nb.folder, module.rpartition(".")[0]
        if number[module] >= number[nb.module]:
            yield at(nb, cell, f"imports {module}, which has a later number")
        if nb.module != "cli" and FOLDERS.index(there) > FOLDERS.index(here):
            yield at(nb, cell, f"imports {module} from a folder below")


def few_floors(root: Path, book: list[Notebook]) -> Iterator[str]:
    "The longest chain of imports between folders has at most eight floors."
    above: dict[str, set[str]] = {}
    for nb, _, module in edges(book):
        if nb.module == "cli":  # the command line stands on everything
            continue
        above.setdefault(nb.folder, set()).add(module.rpartition(".")[0])

    def chain(folder: str, below: tuple[str, ...] = ()) -> tuple[str, ...]:
        "The longest chain of folders that ends here; a circle ends where it closes."
        if folder in below:
            return (*below, folder)
        chains = [chain(f, (*below, folder)) for f in above.get(folder, set()) - {folder}]
        return max(chains, key=len, default=(*below, folder))

    for folder in FOLDERS[1:]:
        longest = chain(folder)
        if len(longest) > FLOORS or len(set(longest)) < len(longest):
            yield f"{folder} stands on {' ← '.join(f or 'shared' for f in longest)}"


def prediction_is_light(root: Path, book: list[Notebook]) -> Iterator[str]:
    "`from brainmtl import Predictor` loads no evaluation, plotting or training library."
    heavy = "sklearn matplotlib joblib accelerate seaborn brainmtl.evaluation brainmtl.experiments brainmtl.training"
    code = f"import sys; from brainmtl import Predictor; print(*[m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    if done.returncode or done.stdout.strip():
        yield f"from brainmtl import Predictor loads {done.stdout.strip() or done.stderr[-300:]}"


# --- size and form ---------------------------------------------------------------------------------------------------


def module_size(root: Path, book: list[Notebook]) -> Iterator[str]:
    "A module has at most 350 code lines, a function 60."
    for nb in book:
        lines = [s for c, _ in nb.tree for s in c.source.splitlines() if s.strip()]
        if len(lines) > MODULE_LINES:
            yield f"{nb.path.name}: {len(lines)} code lines"
        for cell, tree in nb.tree:
            for f in ast.walk(tree):
                if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef):
                    n = (f.end_lineno or 0) - f.lineno + 1
                    if n > FUNCTION_LINES:
                        yield at(nb, cell, f"{f.name} has {n} lines")


def only_imports(cell: Cell) -> bool:
    "Check for a cell of imports alone."
    nodes = ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.M)).body
    return bool(nodes) and all(isinstance(n, ast.Import | ast.ImportFrom) for n in nodes)


ASSERTING = re.compile(r"\bassert\b|\btest_\w+\(|\bexpect_fail\(")


def no_walls(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Between asserting cells stand at most two exported cells, or 40 exported lines, with prose before them."
    for nb in book:
        run: list[Cell] = []
        prose = False
        for cell in (*nb.cells, None):
            if cell is not None and cell.kind == "markdown":
                prose = True
            elif cell is not None and cell.exported and not only_imports(cell):
                if not run and not prose:
                    yield at(nb, cell, "is exported without a sentence before it")
                run.append(cell)
            elif run and (cell is None or (ASSERTING.search(cell.source) and not cell.has("hide"))):
                lines = sum(bool(s.strip()) for c in run for s in c.source.splitlines())
                if len(run) > WALL[0] and lines > WALL[1]:
                    yield at(nb, run[0], f"{len(run)} exported cells, {lines} lines, without an assertion")
                run, prose = [], False


TITLE = re.compile(r"\A# \S[^\n]*\n\s*>\s*\S+( \S+){3,}\s*\Z")


def form(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Title and sentence alone in the first Markdown cell, a closing section, no switched-off cells."
    for nb in [*book, *read_tutorials(root)]:
        first = next((c for c in nb.cells if c.kind == "markdown"), None)
        if first is None or not TITLE.search(first.source):
            yield f"{nb.path.name}: the first Markdown cell must hold a title and one sentence in a quote, alone"
        if "## What could go wrong" not in nb.markdown:
            yield f"{nb.path.name}: has no section 'What could go wrong'"
        if any(d.replace(" ", "") == "eval:false" for c in nb.cells for d in c.directives):
            yield f"{nb.path.name}: switches cells off"
    for nb in book:
        if nb.module.rpartition(".")[2] != re.sub(r"^\d+[a-z]?_", "", nb.path.stem):
            yield f"{nb.path.name}: exports to {nb.module}"
        if "nbdev_export" + "()" not in nb.cells[-1].source:
            yield f"{nb.path.name}: does not end in the export cell"
    for nb in read_tutorials(root):
        if not any(c.kind == "code" and not c.has("hide") and ASSERTING.search(c.source) for c in nb.cells):
            yield f"{nb.path.name}: asserts nothing that the reader sees"


def imports_alone(root: Path, book: list[Notebook]) -> Iterator[str]:
    "A cell outside the module that imports does nothing else, so that the site can be built."
    for nb in [*book, *read_tutorials(root)]:
        for cell in nb.cells:
            if cell.kind != "code" or cell.exported or "nbdev_export" + "()" in cell.source:
                continue
            nodes = ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.M)).body
            kinds = {isinstance(n, ast.Import | ast.ImportFrom) for n in nodes}
            if kinds == {True, False}:
                yield at(nb, cell, "imports and computes in one cell")


def figures_have_alt_text(root: Path, book: list[Notebook]) -> Iterator[str]:
    "A cell with a figure says in `#| fig-alt` what one sees."
    for nb in [*book, *read_tutorials(root)]:
        for cell in nb.cells:
            if any("image/png" in o.get("data", {}) for o in cell.outputs) and not cell.has("fig-alt"):
                yield at(nb, cell, "shows a figure without #| fig-alt")


UNSTABLE = {
    "a memory address": r"\b0x[0-9a-f]{8,}",
    "an absolute path": r"(?<![\w.:/])/(tmp|home|root|work|usr|Users|private|var)/\w",
    "a progress bar": r"\d+%\||it/s\b|s/it\b",
    "an error": r"Traceback \(most recent call last\)",
}


def stable_outputs(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Stored outputs hold no address, path, bar or error, and a notebook stays light."
    for nb in [*book, *read_tutorials(root)]:
        for cell in nb.cells:
            text = "\n".join(map(output_text, cell.outputs))
            for what, pattern in UNSTABLE.items():
                if m := re.search(pattern, text):
                    yield at(nb, cell, f"output holds {what}: {m.group()}")
        if nb.path.stat().st_size > NOTEBOOK_BYTES:
            yield f"{nb.path.name}: {nb.path.stat().st_size:,} bytes"


# --- documentation ---------------------------------------------------------------------------------------------------


def public_functions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    "Public functions and methods of public classes, and `__init__`."
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name == "__init__" or not node.name.startswith("_")
        ):
            yield node


def undocumented(f: ast.FunctionDef | ast.AsyncFunctionDef, comments: set[int]) -> list[str]:
    "Parameters, return and docstring that a function leaves without words."
    args = [a for a in f.args.posonlyargs + f.args.args + f.args.kwonlyargs if a.arg not in ("self", "cls")]
    defaults: dict[ast.arg, ast.expr | None] = dict(
        zip((f.args.posonlyargs + f.args.args)[::-1], f.args.defaults[::-1], strict=False)
    )
    defaults |= dict(zip(f.args.kwonlyargs, f.args.kw_defaults, strict=True))
    missing = [a.arg for a in args if (defaults.get(a) or a).end_lineno not in comments]
    if f.name == "__init__":
        return missing
    none = isinstance(f.returns, ast.Constant) and f.returns.value is None
    if f.returns is None or not (none or f.returns.end_lineno in comments):
        missing.append("return")
    return missing if ast.get_docstring(f) else ["docstring", *missing]


def inherited(nb: Notebook) -> set[ast.AST]:
    "Methods that override one with a docstring, of a class in the same notebook: its words hold for them."
    classes = {c.name: c for _, tree in nb.tree for c in tree.body if isinstance(c, ast.ClassDef)}
    return {
        f
        for c in classes.values()
        for base in c.bases
        if isinstance(base, ast.Name) and base.id in classes
        for f in public_functions(c)
        if any(f.name == g.name and ast.get_docstring(g) for g in public_functions(classes[base.id]))
    }


def documented(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Every public symbol is documented in the docments style."
    for nb in book:
        silent = inherited(nb)
        for cell, tree in nb.tree:
            tokens = tokenize.generate_tokens(io.StringIO(cell.source).readline)
            comments = {t.start[0] for t in tokens if t.type == tokenize.COMMENT}
            for f in public_functions(tree):
                if f in silent or any(getattr(d, "attr", getattr(d, "id", "")) == "setter" for d in f.decorator_list):
                    continue
                if missing := ", ".join(undocumented(f, comments)):
                    yield at(nb, cell, f"{f.name} has no words for {missing}")
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                    yield at(nb, cell, f"class {node.name} has no docstring")


def refusals_say_why(root: Path, book: list[Notebook]) -> Iterator[str]:
    "`test_fail` and `expect_fail` carry `contains=`, and no lambda that lacks its arguments."
    for nb in [*book, *read_tutorials(root)]:
        for cell in nb.cells:
            if cell.kind != "code" or not re.search(r"\b(test|expect)_fail\(", cell.source):
                continue
            for call in ast.walk(ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.M))):
                if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in ("test_fail", "expect_fail"):
                    continue
                if "contains" not in {k.arg for k in call.keywords}:
                    yield at(nb, cell, f"{ast.unparse(call.func)} without contains=")
                if any(isinstance(a, ast.Lambda) and a.args.args for a in call.args):
                    yield at(nb, cell, "test_fail of a lambda that needs arguments")


# --- words and code that must not appear -----------------------------------------------------------------------------

WORDS = {
    r"(?<![\"'`])tumour|colour|grey\b|neighbour|centre\b|labelled|learnt": "American spelling",
    r"normalis|standardis|optimis(?:e|ation|ing)": "American spelling",
    r"\b(trivial rule|thinned networks?|twins?|healed)\b": "the field's word (see nbs/glossary)",
    r"\b(sick|healthy) slices?\b": "tumor-positive or tumor-negative slice",
    r"(?<!there )\b(is|are) no (?!longer|more|less|different|better|worse|fewer)[a-z]+": "is not a …",
    r"\((?:protocol |check )?[PDMTUVN]\d{1,2}\)|\b[Cc]heck [PDMTUVN]\d\b|\b[Pp]rotocol P\d\b": "what the check does",
    r"\ba comparable project\b|\bthe prior work\b|\bthe work this one follows\b": "a citation with a link",
    r"\bthis room\b|\bhouse rules?\b": "notebook, module; conventions",
}
BANNED = {
    r"weights_only\s*=\s*False": "weights_only=False",
    r"allow_pickle\s*=\s*True": "allow_pickle=True",
    r"\byaml\.(unsafe_|full_)?load\(": "yaml.load",
    r"\bpickle\.(load|dump)": "pickle",
    r"^\s*except\s*:": "a bare except",
    r"(?<![\w.])(eval|exec)\(": "eval or exec",
    r"import \*": "a star import",
    r"#\s*(TODO|FIXME|XXX)": "postponed work",
}


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    "All prose for people: Markdown files, notebooks' Markdown, and exported code with its docstrings and messages."
    for path in [*sorted(root.glob("*.md")), *sorted(root.glob("nbs/**/*.qmd"))]:
        yield path, path.read_text(encoding="utf-8")
    for path in sorted(root.glob("nbs/**/*.ipynb")):
        nb = read_notebook(path)
        yield path, "\n\n".join(c.source for c in nb.cells if c.kind == "markdown" or c.exported)


def words(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Prose and code use the field's words in American spelling, and no code that is not explained."
    for path, text in texts(root):
        for pattern, instead in WORDS.items():
            for m in re.finditer(pattern, text):
                line = text.count("\n", 0, m.start()) + 1
                if path.name != "CHANGELOG.md" and "http" not in text[max(0, m.start() - 60) : m.start()]:
                    yield f"{path.relative_to(root)} line {line} of its prose: '{m.group()}' (write: {instead})"


def banned_code(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Exported code holds no unsafe loading, bare except, star import or postponed work."
    for nb in book:
        for cell, _ in nb.tree:
            for pattern, what in BANNED.items():
                if re.search(pattern, cell.source, re.M):
                    yield at(nb, cell, what)


# --- the repository --------------------------------------------------------------------------------------------------


def orphans(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Every module comes from a notebook that still exists, and every notebook has its module."
    living = {nb.module.replace(".", "/") + ".py" for nb in book}
    there = {p.relative_to(root / "brainmtl").as_posix() for p in (root / "brainmtl").rglob("*.py")}
    made = {p for p in there if Path(p).name not in ("__init__.py", "_modidx.py")}
    yield from (f"brainmtl/{p}: no notebook exports this module" for p in sorted(made - living))
    yield from (f"brainmtl/{p} is missing; run nbdev_export" for p in sorted(living - made))


IMPORT_OF = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "python-multipart": "multipart",
    "markdown-it-py": "markdown_it",
    "simpleitk": "SimpleITK",
}


def declared_imports(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Every package that a module imports is a requirement in settings.ini."
    config = configparser.ConfigParser(delimiters=["="], interpolation=None)
    config.read(root / "settings.ini", encoding="utf-8")
    wanted = " ".join(v for k, v in config["DEFAULT"].items() if k.endswith("requirements")).split()
    names = [re.split(r"[<>=!~\[]", w)[0].lower() for w in wanted]
    known = {IMPORT_OF.get(n, n.replace("-", "_")) for n in names}
    known |= set(sys.stdlib_module_names) | {"brainmtl", "IPython"}
    for nb in book:
        nodes = [n for _, tree in nb.tree for n in ast.walk(tree)]
        used = {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
        used |= {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        for name in sorted({n.split(".")[0] for n in used} - known):
            yield f"{nb.path.name}: imports {name}, which settings.ini does not require"


def in_sidebar(root: Path, book: list[Notebook]) -> Iterator[str]:
    "nbs/sidebar.yml lists every page, as it is made here."
    if (root / "nbs" / "sidebar.yml").read_text(encoding="utf-8") != sidebar(root, book):
        yield "nbs/sidebar.yml is old; run python -m tools.lint --fix"


def links_resolve(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Local links lead to files that exist, and `brainmtl.…` names to modules that exist."
    known = {nb.module for nb in book} | set(FOLDERS)
    for path, text in texts(root):
        if path.suffix == ".ipynb":
            text = read_notebook(path).markdown
        text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            local = target.split("#")[0]
            if local and ":" not in local and not (path.parent / local).exists():
                yield f"{path.relative_to(root)}: the link to {target} leads nowhere"
        for name in re.findall(r"`brainmtl\.([a-z_.]+)", text):
            parts = name.strip(".").split(".")
            if not any(".".join(parts[:k]) in known for k in (1, 2)):
                yield f"{path.relative_to(root)}: there is no brainmtl.{name}"


# --- breadcrumb ------------------------------------------------------------------------------------------------------


def breadcrumb(nb: Notebook, book: list[Notebook]) -> str:
    "One line: the folders in the order of the pipeline, the present one open."

    def link(other: Notebook) -> str:
        label = other.module.rpartition(".")[2]
        return f"**{label}**" if other is nb else f"[{label}]({os.path.relpath(other.path, nb.path.parent)})"

    firsts = {f: next(b for b in book if b.folder == f) for f in FOLDERS[1:] if any(b.folder == f for b in book)}
    parts = []
    for folder, first in firsts.items():
        if folder == nb.folder:
            parts.append(f"**{folder}** ({', '.join(link(b) for b in book if b.folder == folder)})")
        else:
            parts.append(f"[{folder}]({os.path.relpath(first.path, nb.path.parent)})")
    here = "" if nb.folder else f"**{nb.module}**, shared by all: "
    return f"You are here: {here}" + " → ".join(parts)


def placed(root: Path, book: list[Notebook]) -> Iterator[str]:
    "Every notebook shows its breadcrumb once."
    for nb in book:
        if re.findall("^You are here.*$", nb.markdown, re.M) != [breadcrumb(nb, book)]:
            yield f"{nb.path.name}: the line 'You are here' is missing or old; run python -m tools.lint --fix"


def place(book: list[Notebook]) -> None:
    "Write the breadcrumb into every notebook; one that has none gets it below its first prose."
    for nb in book:
        raw = json.loads(nb.path.read_text(encoding="utf-8"))
        prose = [c for c in raw["cells"] if c["cell_type"] == "markdown"]
        line, found = breadcrumb(nb, book), False
        for cell in prose:
            text = "".join(cell["source"])
            if re.search("^You are here", text, re.M):
                text, found = re.sub("^You are here.*$", line.replace("\\", r"\\"), text, flags=re.M), True
                cell["source"] = text.splitlines(True)
        if not found and len(prose) > 1:
            prose[1]["source"] = ("".join(prose[1]["source"]).rstrip() + f"\n\n{line}").splitlines(True)
        nb.path.write_text(json.dumps(raw, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


TITLES = {
    "": "Shared",
    "data": "Data",
    "models": "Models",
    "training": "Training",
    "inference": "Inference",
    "evaluation": "Evaluation",
    "experiments": "Experiments",
    "apps": "Applications",
}


START = ("index.ipynb", "installation.ipynb", "tutorials/00_predict.ipynb", "gallery.ipynb")


def sidebar_entry(page: Path, nbs: Path) -> str:
    "A page of the sidebar; one that takes its heading from an included file is given its text."
    path = page.relative_to(nbs).as_posix()
    included = page.suffix == ".qmd" and re.search(r"^pagetitle: (.+)$", page.read_text(encoding="utf-8"), re.M)
    return f"          - text: {included[1]}\n            href: {path}" if included else f"          - {path}"


def sidebar(root: Path, book: list[Notebook]) -> str:
    "The sidebar: first what a reader wants to do, then the API in the order of the pipeline, then the project."
    nbs = root / "nbs"
    sections = {"Get started": [p for p in START if (nbs / p).exists()]}
    tutorials = [f"tutorials/{nb.path.name}" for nb in read_tutorials(root)]
    sections["Tutorials"] = [p for p in tutorials if p not in START]
    for folder in (*FOLDERS[1:], ""):
        pages = [nb.path.relative_to(nbs).as_posix() for nb in book if nb.folder == folder]
        sections[f"API: {TITLES[folder]}"] = pages
    known = {page for pages in sections.values() for page in pages}
    rest = sorted(p.relative_to(nbs).as_posix() for e in ("ipynb", "qmd") for p in nbs.rglob(f"*.{e}"))
    sections["Project"] = [p for p in rest if p not in known and ".ipynb_checkpoints" not in p]
    lines = ["website:", "  sidebar:", "    contents:"]
    for title, pages in sections.items():
        if pages:
            entries = [sidebar_entry(nbs / page, nbs) for page in pages]
            lines += [f'      - section: "{title}"', "        contents:", *entries]
    return "\n".join(lines) + "\n"


RULES = (
    imports_go_one_way,
    few_floors,
    prediction_is_light,
    module_size,
    no_walls,
    form,
    imports_alone,
    figures_have_alt_text,
    stable_outputs,
    documented,
    refusals_say_why,
    words,
    banned_code,
    orphans,
    declared_imports,
    in_sidebar,
    links_resolve,
    placed,
)


def check(root: Path) -> dict[str, list[str]]:
    "Violations by rule; an empty list is a rule kept."
    book = read_library(root)
    return {rule.__name__: list(rule(root, book)) for rule in RULES}


def main() -> int:
    "Print one line per rule and what breaks it."
    parser = argparse.ArgumentParser(prog="python -m tools.lint", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", nargs="?", default=".", type=Path, help="the repository")
    parser.add_argument("--fix", action="store_true", help="write breadcrumbs and sidebar first")
    parser.add_argument("--only", help="one rule")
    args = parser.parse_args()
    book = read_library(args.root)
    if args.fix:
        place(book)
        (args.root / "nbs" / "sidebar.yml").write_text(sidebar(args.root, book), encoding="utf-8")
    broken = 0
    for rule in RULES:
        if args.only and rule.__name__ != args.only:
            continue
        lines = list(rule(args.root, read_library(args.root) if args.fix else book))
        broken += bool(lines)
        print("ok  " if not lines else "FAIL", rule.__name__.replace("_", " "))
        print(*(f"       {line}" for line in lines), sep="\n", end="\n" if lines else "")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
