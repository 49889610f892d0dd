"""Check that the notebooks keep the rules of this house: layout, order, size of cells, documentation and visible tests."""

import argparse, ast, configparser, io, json, re, subprocess, sys, tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    "One notebook cell: its kind, its nbdev directives and its source without them."

    index: int  # position in the notebook, 0-based
    kind: str  # 'code' or 'markdown'
    directives: tuple[str, ...]  # e.g. ('export',) or ('hide', 'slow')
    source: str  # text below the directive lines
    outputs: list  # stored outputs, as in the file

    @property
    def exported(self) -> bool:  # is this cell written into the package?
        "Say whether nbdev writes this cell into the module."
        return bool({"export", "exporti", "exports"} & {d.split()[0] for d in self.directives if d})

    @property
    def hidden(self) -> bool:  # is the cell left out of the documentation?
        "Say whether the reader of the documentation does not see this cell."
        return "hide" in self.directives


def parse_cell(
    index: int,  # position in the notebook
    raw: dict,  # one entry of the file's "cells"
) -> Cell:  # the cell, directives split from the source
    "Split the leading `#| …` lines of a raw cell from its source."
    lines = "".join(raw["source"]).splitlines()
    n = 0
    while raw["cell_type"] == "code" and n < len(lines) and lines[n].startswith("#|"):
        n += 1
    directives = tuple(line[2:].strip() for line in lines[:n])
    return Cell(index, raw["cell_type"], directives, "\n".join(lines[n:]).strip("\n"), raw.get("outputs", []))


EXPORT_CALL = "nbdev_export" + "()"  # in two parts, because nbdev_test skips a cell that holds the call


@dataclass(frozen=True)
class Notebook:
    "A parsed notebook: file and cells."

    path: Path  # the .ipynb file
    cells: tuple[Cell, ...]  # all cells in order

    @property
    def module(self) -> str:  # e.g. 'files'; '' for a notebook that exports nothing
        "Name of the module this notebook exports to."
        names = [d.split()[1] for c in self.cells for d in c.directives if d.startswith("default_exp ")]
        return names[0] if names else ""

    @property
    def exports(self) -> list[Cell]:  # exported cells, in order
        "Cells that make up the module."
        return [c for c in self.cells if c.kind == "code" and c.exported]

    @cached_property
    def tree(self) -> list[tuple[Cell, ast.Module]]:  # one pair per exported cell
        "Exported cells with their syntax trees."
        return [(c, ast.parse(c.source)) for c in self.exports]


def read_notebook(
    path: Path,  # an .ipynb file
) -> Notebook:  # parsed
    "Parse one notebook file."
    raw = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return Notebook(Path(path), tuple(parse_cell(i, c) for i, c in enumerate(raw)))


def read_book(
    nbs: Path,  # folder of the notebooks
) -> list[Notebook]:  # numbered library notebooks in file order
    "Parse all library notebooks: those in the top folder whose name starts with a number."
    return [read_notebook(p) for p in sorted(Path(nbs).glob("[0-9]*.ipynb"))]


def read_tutorials(
    nbs: Path,  # folder of the notebooks
) -> list[Notebook]:  # the stories for people, in file order
    "Parse all tutorials; they export nothing, and some rules are not for them."
    return [read_notebook(p) for p in sorted((Path(nbs) / "tutorials").glob("*.ipynb"))]


def at(
    nb: Notebook,  # where
    cell: Cell,  # which cell of it
    what: str,  # what is wrong, a phrase
) -> str:  # one sentence for the reader
    "Say where something is wrong."
    return f"{nb.path.name} cell {cell.index}: {what}"


STEPS = {
    "sources": "phantom download",
    "preprocess": "",
    "duplicates": "",
    "store": "",
    "dataset": "augment",
    "model": "encoder decoder head",
    "train": "losses stages",
    "evaluate": "metrics baselines calibrate uncertainty gradcam ablation crossval",
    "report": "",
    "predict": "inspector serve app export engine",
}  # step, which is also a room: other rooms that belong to it


def flow_line(
    module: str,  # where we are
    files: dict[str, str],  # module → name of its notebook, for the links
) -> str:  # one line of Markdown
    "Draw the way of the data with one room marked; a room outside it stands beside."

    def link(step):
        return f"[{step}]({files[step]})" if step in files else step

    def part(step):
        return (
            f"**{step}**"
            if step == module
            else f"{link(step)}: **{module}**"
            if module in STEPS[step].split()
            else link(step)
        )

    flow = " → ".join(map(part, STEPS))
    return f"You are here: {flow}" if "**" in flow else f"You are here: **{module}**, beside {flow}"


def placed(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every notebook shows `flow_line` once, as it is made here."
    files = {nb.module: nb.path.name for nb in book}
    for nb in book:
        lines = re.findall("^You are here.*$", "\n".join(c.source for c in nb.cells if c.kind == "markdown"), re.M)
        if lines != [flow_line(nb.module, files)]:
            yield f"{nb.path.name}: the line 'You are here' is missing, old or not alone; run brainmtl-check --fix"


def place(
    nbs: Path,  # folder of the notebooks
) -> list[str]:  # names of the notebooks that were changed
    "Write the line into all notebooks that have one; nothing else in them changes."
    book, changed = read_book(nbs), []
    files = {nb.module: nb.path.name for nb in book}
    for nb in book:
        raw = json.loads(text := nb.path.read_text(encoding="utf-8"))
        for cell in raw["cells"]:
            if cell["cell_type"] != "markdown":
                continue
            source = re.sub("^You are here.*$", flow_line(nb.module, files), "".join(cell["source"]), flags=re.M)
            cell["source"] = source.splitlines(True)
        new = json.dumps(raw, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        if json.loads(new) != json.loads(text):
            nb.path.write_text(new, encoding="utf-8")
            changed.append(nb.path.name)
    return changed


Rule = Callable[[list[Notebook]], Iterator[str]]


def own_imports(
    tree: ast.Module,  # syntax tree of one cell
) -> Iterator[str]:  # names of brainmtl modules it imports
    "Find imports from this package, wherever they stand in the cell."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield (node.module or node.names[0].name).split(".")[0]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("brainmtl."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "brainmtl":
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("brainmtl."))


def import_order(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "A module imports only modules of notebooks before it."
    place = {nb.module: i for i, nb in enumerate(sorted(book, key=lambda nb: nb.path.name))}
    for nb in book:
        for cell, tree in nb.tree:
            for name in own_imports(tree):
                if name in place and place[name] >= place[nb.module]:
                    yield at(nb, cell, f"imports brainmtl.{name} from a later notebook")
                if name not in place and name != "__version__":
                    yield at(nb, cell, f"imports brainmtl.{name}, which no notebook exports")


MAX_LINES = 25
LONG_CELLS: dict[tuple[str, str], str] = {}  # (module, first name defined in the cell): why it cannot be cut


def defined_names(
    tree: ast.Module,  # syntax tree of one cell
) -> list[str]:  # names of its functions, classes and constants
    "Names that a cell defines at its top level."
    names = [
        [n.name]
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        else [t.id for t in getattr(n, "targets", [getattr(n, "target", None)]) if isinstance(t, ast.Name)]
        for n in tree.body
    ]
    return sum(names, [])


def cell_length(
    book: list[Notebook],  # all library notebooks
    reasons: dict[tuple[str, str], str] = LONG_CELLS,  # permitted long cells with the reason
) -> Iterator[str]:  # one sentence per violation
    "Exported cells have at most `MAX_LINES` non-blank lines or a stated reason."
    used = set()
    for nb in book:
        for cell, tree in nb.tree:
            n, key = sum(bool(s.strip()) for s in cell.source.splitlines()), (nb.module, *defined_names(tree)[:1])
            if n <= MAX_LINES:
                continue
            if key in reasons:
                used.add(key)
            else:
                yield at(nb, cell, f"{n} lines exported in one cell; cut it with @patch or state a reason")
    yield from (f"LONG_CELLS lists {key}, but that cell is short or gone" for key in reasons if key not in used)


def comment_lines(
    source: str,  # Python source
) -> set[int]:  # 1-based numbers of lines that carry a comment
    "Find the lines with a comment in them."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0] for t in tokens if t.type == tokenize.COMMENT}


def public_functions(
    tree: ast.Module | ast.ClassDef,  # syntax tree of one cell, or a class in it
) -> Iterator[
    ast.FunctionDef | ast.AsyncFunctionDef
]:  # functions and methods without a leading underscore, and `__init__`
    "Find the public functions of a cell, inside public classes too."
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (
            node.name == "__init__" or node.name[0] != "_"
        ):
            owner = node.args.args[0].annotation if node.decorator_list and node.args.args else None
            if not getattr(owner, "id", "").startswith("_"):
                yield node  # a method patched into a private class is private


def undocumented(
    f: ast.FunctionDef | ast.AsyncFunctionDef,  # a public function
    comments: set[int],  # lines with a comment
) -> list[str]:  # what lacks words: 'docstring', parameter names, 'return'
    "List what a function leaves without a word."
    args = [a for a in f.args.posonlyargs + f.args.args + f.args.kwonlyargs if a.arg not in ("self", "cls")]
    defaults: dict = dict(zip((f.args.posonlyargs + f.args.args)[::-1], f.args.defaults[::-1], strict=False))
    defaults |= dict(zip(f.args.kwonlyargs, f.args.kw_defaults, strict=True))
    ends = [(a, (defaults.get(a) or a).end_lineno) for a in args]
    alone = {end for _, end in ends if sum(e == end for _, e in ends) == 1}
    missing = [a.arg for a, end in ends if end not in comments or end not in alone]
    if f.name == "__init__":
        return missing
    none = isinstance(f.returns, ast.Constant) and f.returns.value is None
    if f.returns is None or not (none or f.returns.end_lineno in comments):
        missing.append("return")
    return missing if ast.get_docstring(f) else ["docstring", *missing]


def documented(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every public symbol is documented in the docments style."
    for nb in book:
        for cell, tree in nb.tree:
            comments = comment_lines(cell.source)
            for f in public_functions(tree):
                missing = ", ".join(undocumented(f, comments))
                if missing:
                    yield at(nb, cell, f"{f.name} has no words for {missing}")
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node):
                    yield at(nb, cell, f"class {node.name} has no docstring")
            if re.search(r"^\s*(Args|Returns|Parameters):?\s*$", cell.source, re.M):
                yield at(nb, cell, "has an Args block; use docments")


_asserting = re.compile(r"^\s*(with\s+expect_fail|assert\b|test_\w+\()|\bassert\b", re.M)
_implied = {"__init__", "forward", "extra_repr"}  # called through the object itself


def asserted(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every public function, method and class appears in a visible asserting cell of its own notebook."
    for nb in book:
        visible = [c.source for c in nb.cells if c.kind == "code" and not c.exported and not c.hidden]
        shown = "\n".join(source for source in visible if _asserting.search(source))
        for cell, tree in nb.tree:
            classes = [
                n.name
                for n in tree.body
                if isinstance(n, ast.ClassDef) and not n.name.startswith("_") and list(public_functions(n))
            ]
            for name in [f.name for f in public_functions(tree)] + classes:
                if name not in _implied and not re.search(rf"\b{name}\b", shown):
                    yield at(nb, cell, f"{name} appears in no visible asserting cell")


def test_fail_says_why(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "`test_fail` and `expect_fail` carry `contains=`, and no lambda that needs arguments."
    for nb in book:
        for cell in nb.cells:
            if cell.kind != "code" or not re.search(r"\b(test|expect)_fail\(", cell.source):
                continue
            calls = (
                n
                for n in ast.walk(ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.M)))
                if isinstance(n, ast.Call)
            )
            for call in calls:
                if getattr(call.func, "id", "") not in ("test_fail", "expect_fail"):
                    continue
                if "contains" not in {k.arg for k in call.keywords}:
                    yield at(nb, cell, f"{ast.unparse(call.func)} without contains=")
                if any(isinstance(a, ast.Lambda) and a.args.args for a in call.args):
                    yield at(nb, cell, "test_fail of a lambda that needs arguments")


_title = re.compile(r"\A# \S[^\n]*\n\s*>\s*\S+( \S+){2,}")


def form_faults(
    nb: Notebook,  # one library notebook
) -> Iterator[str]:  # one phrase per fault
    "Compare one notebook with the skeleton."
    text = "\n".join(c.source for c in nb.cells if c.kind == "markdown")
    if not any(d.startswith("default_exp") for d in nb.cells[0].directives[:1]):
        yield "does not start with default_exp"
    if not _title.search(text):
        yield "has no H1 title with a sentence as blockquote below it"
    if "## What could go wrong" not in text:
        yield "has no section 'What could go wrong'"
    if EXPORT_CALL not in nb.cells[-1].source:
        yield f"does not end in {EXPORT_CALL}"
    if nb.module != re.sub(r"^\d+[a-z]?_", "", nb.path.stem):
        yield f"exports to '{nb.module}', not to the name of the file"
    off = [c.index for c in nb.cells if any(d.replace(" ", "") == "eval:false" for d in c.directives)]
    if off or "skip_exec" in text:
        yield f"switches cells off: {off}"


def skeleton(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "A notebook has its title, sentence, closing section and export cell."
    for nb in book:
        yield from (f"{nb.path.name}: {fault}" for fault in form_faults(nb))


def title_alone(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "The title's cell holds the title and its sentence only."
    for nb in book:
        first = next((c for c in nb.cells if c.kind == "markdown"), None)
        if (
            first
            and _title.search(first.source)
            and len(re.split(r"\n\s*\n", first.source.split(">", 1)[1].strip())) > 1
        ):
            yield at(
                nb,
                first,
                "holds more than title and sentence; nbdev makes a head of them and takes the cell out of the page",
            )


def tutorial_faults(
    nb: Notebook,  # one tutorial
) -> Iterator[str]:  # one phrase per fault
    "Compare one tutorial with the skeleton of a story."
    text = "\n".join(c.source for c in nb.cells if c.kind == "markdown")
    if nb.module or nb.exports:
        yield "exports code; a tutorial only uses the library"
    if not _title.search(text):
        yield "has no H1 title with a sentence as blockquote below it"
    for part in ("You are here", "## What could go wrong", "](../"):
        if part not in text:
            yield f"does not say '{part}'"
    if not any(c.kind == "code" and not c.hidden and _asserting.search(c.source) for c in nb.cells):
        yield "asserts nothing that the reader sees"
    off = [c.index for c in nb.cells if any(d.replace(" ", "") == "eval:false" for d in c.directives)]
    if off or "skip_exec" in text:
        yield f"switches cells off: {off}"


def tutorial_form(
    stories: list[Notebook],  # all tutorials
) -> Iterator[str]:  # one sentence per violation
    "A tutorial has its title, sentence, place, assertions, links to rooms and closing section, and exports nothing."
    for nb in stories:
        yield from (f"tutorials/{nb.path.name}: {fault}" for fault in tutorial_faults(nb))


def imports_alone(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "A cell outside the module that imports does nothing else."
    for nb in book:
        for cell in nb.cells:
            if cell.kind != "code" or cell.exported or not re.search(r"^\s*(import|from)\s", cell.source, re.M):
                continue
            nodes = list(ast.walk(ast.parse(re.sub(r"^\s*[!%].*$", "", cell.source, flags=re.M))))
            imports = any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in nodes)
            if imports and any(isinstance(n, (ast.Expr, ast.Assign)) for n in nodes) and EXPORT_CALL not in cell.source:
                yield at(nb, cell, "imports and computes in one cell; the documentation cannot be built")


_unstable = {
    "a memory address": r"\b0x[0-9a-f]{8,}",
    "an absolute path": r"(?<![\w.:/])/(tmp|home|root|work|usr|Users|private|var)/\w",
    "a progress bar": r"\d+%\||it/s\b|s/it\b",
    "an error": r"Traceback \(most recent call last\)",
}


def output_text(
    output: dict,  # one stored output
) -> str:  # what of it is text
    "Collect the text of a stored output."
    data = output.get("data", {})
    parts = (
        [output.get("text", "")] + [v for k, v in data.items() if k.startswith("text/")] + output.get("traceback", [])
    )
    return "\n".join("".join(p) for p in parts)


def stable_outputs(
    book: list[Notebook],  # all library notebooks
    limit: int = 500_000,  # greatest size of a notebook in bytes
) -> Iterator[str]:  # one sentence per violation
    "Stored outputs are free of addresses, paths and bars, and the notebook is light."
    for nb in book:
        for cell in nb.cells:
            text = "\n".join(map(output_text, cell.outputs))
            for what, pattern in _unstable.items():
                if m := re.search(pattern, text):
                    yield at(nb, cell, f"output holds {what}: {m.group()}")
        if nb.path.exists() and nb.path.stat().st_size > limit:
            yield f"{nb.path.name}: {nb.path.stat().st_size} bytes, more than {limit}"


_banned = {
    r"weights_only\s*=\s*False": "weights_only=False",
    r"allow_pickle\s*=\s*True": "allow_pickle=True",
    r"\byaml\.(unsafe_|full_)?load\(": "yaml.load",
    r"\bpickle\.(load|dump)": "pickle",
    r"^\s*except\s*:": "a bare except",
    r"(?<![\w.])(eval|exec)\(": "eval or exec",
    r"^from (?!\.|brainmtl)\S+ import \*": "a star import of a third party",
    r"#\s*(TODO|FIXME|XXX)": "a note to do it later",
}


def banned_code(
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Exported code holds no unsafe loading, bare except, star import or postponed work."
    for nb in book:
        for cell in nb.exports if nb.module != "house" else []:
            for pattern, what in _banned.items():
                if re.search(pattern, cell.source, re.M):
                    yield at(nb, cell, f"{what}")


def function_length(
    book: list[Notebook],  # all library notebooks
    limit: int = 50,  # most lines of one function
) -> Iterator[str]:  # one sentence per violation
    "No function is longer than `limit` lines."
    for nb in book:
        for cell, tree in nb.tree:
            for f in ast.walk(tree):
                if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) and (f.end_lineno or 0) - f.lineno >= limit:
                    yield at(nb, cell, f"{f.name} has {(f.end_lineno or 0) - f.lineno + 1} lines")


def orphans(
    root: Path,  # repository
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every module in the package comes from a notebook that still exists."
    living = {nb.module for nb in book} | {"__init__", "_modidx"}
    for path in sorted((Path(root) / "brainmtl").glob("*.py")):
        if path.stem not in living:
            yield f"brainmtl/{path.name}: no notebook exports this module; delete it"
    for nb in book:
        if nb.module and not (Path(root) / "brainmtl" / f"{nb.module}.py").exists():
            yield f"{nb.path.name}: brainmtl/{nb.module}.py is missing; run nbdev_export"


_import_of = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "python-multipart": "multipart",
    "pypandoc-binary": "pypandoc",
    "markdown-it-py": "markdown_it",
}


def declared_packages(
    settings: Path,  # settings.ini
) -> set[str]:  # names as they are imported
    "Top-level names of all packages that settings.ini requires, extras included."
    config = configparser.ConfigParser(delimiters=["="], interpolation=None)
    config.read(settings, encoding="utf-8")
    wanted = " ".join(v for k, v in config["DEFAULT"].items() if k.endswith("requirements")).split()
    names = [re.split(r"[<>=!~\[]", w)[0].lower() for w in wanted]
    return {_import_of.get(n, n.replace("-", "_")) for n in names}


def declared_imports(
    root: Path,  # repository
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every third-party package that a module imports is a requirement in settings.ini."
    known = declared_packages(Path(root) / "settings.ini") | set(sys.stdlib_module_names) | {"brainmtl", "IPython"}
    for nb in book:
        nodes = [n for _, tree in nb.tree for n in ast.walk(tree)]
        names = {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
        names |= {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        for name in sorted({n.split(".")[0] for n in names} - known):
            yield f"{nb.path.name}: imports {name}, which settings.ini does not require"


def in_sidebar(
    root: Path,  # repository
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Every notebook stands in nbs/sidebar.yml, and every entry there exists."
    nbs = Path(root) / "nbs"
    listed = set(re.findall(r"[\w./-]+\.(?:ipynb|qmd)", (nbs / "sidebar.yml").read_text(encoding="utf-8")))
    there = {nb.path.name for nb in book} | {f"tutorials/{p.name}" for p in (nbs / "tutorials").glob("*.ipynb")}
    yield from (f"nbs/sidebar.yml does not list {name}" for name in sorted(there - listed))
    yield from (
        f"nbs/sidebar.yml lists {name}, which does not exist" for name in sorted(listed) if not (nbs / name).exists()
    )


def prose(
    root: Path,  # repository
) -> Iterator[tuple[Path, str]]:  # file; its Markdown
    "Collect the prose of all notebooks, tutorials included, and of the Markdown files at the top."
    for path in sorted(Path(root).glob("*.md")):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted([*Path(root).glob("nbs/*.ipynb"), *Path(root).glob("nbs/tutorials/*.ipynb")]):
        yield path, "\n\n".join(c.source for c in read_notebook(path).cells if c.kind == "markdown")


def links_resolve(
    root: Path,  # repository
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "Local links lead to files that exist, and `brainmtl.…` names to modules and symbols that exist."
    known = {nb.module: {name for _, tree in nb.tree for name in defined_names(tree)} for nb in book}
    for path, text in prose(root):
        text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            local = target.split("#")[0]
            if local and ":" not in local and not (path.parent / local).exists():
                yield f"{path.name}: the link to {target} leads nowhere"
        for module, name in re.findall(r"`brainmtl\.([a-z]+)(?:\.(\w+))?[`(]", text):
            if module not in known or name and name not in known[module]:
                yield f"{path.name}: no brainmtl.{module}{'.' if name else ''}{name} exists"


def tree_is_true(
    root: Path,  # repository
    book: list[Notebook],  # all library notebooks
) -> Iterator[str]:  # one sentence per violation
    "The file tree in nbs/index.ipynb lists exactly the visible files and folders that git knows at the top."
    index = Path(root) / "nbs" / "index.ipynb"
    text = "\n".join(c.source for c in read_notebook(index).cells) if index.exists() else ""
    tree = re.search(r"^```text\n(.*?)^```", text, re.M | re.S)
    if not tree:
        return
    listed = {
        name.strip().rstrip("/")
        for line in tree[1].splitlines()
        for name in re.split(r"  ", line)[0].split(",")
        if name.strip()
    }
    known = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.splitlines()
    top = {name.split("/")[0] for name in known if not name.startswith(".")}
    yield from (
        f"nbs/index.ipynb: the file tree lists {name}, which does not exist"
        for name in sorted(listed)
        if not (Path(root) / name).exists()
    )
    yield from (f"nbs/index.ipynb: the file tree does not list {name}" for name in sorted(top - listed))


RULES: tuple[Rule, ...] = (
    placed,
    import_order,
    cell_length,
    documented,
    asserted,
    test_fail_says_why,
    skeleton,
    title_alone,
    imports_alone,
    stable_outputs,
    banned_code,
    function_length,
)
REPO_RULES = (orphans, declared_imports, in_sidebar, links_resolve, tree_is_true)
STORY_RULES: tuple[Rule, ...] = (tutorial_form, title_alone, test_fail_says_why, imports_alone, stable_outputs)


def check_house(
    root: Path,  # repository
) -> dict[str, list[str]]:  # violations by rule name; an empty list is a rule kept
    "Run every rule on the notebooks of a repository, and on its tutorials those that fit them."
    book, stories = read_book(Path(root) / "nbs"), read_tutorials(Path(root) / "nbs")
    found = {rule.__name__: list(rule(book)) for rule in RULES} | {
        rule.__name__: list(rule(Path(root), book)) for rule in REPO_RULES
    }
    for rule in STORY_RULES:
        found[rule.__name__] = found.get(rule.__name__, []) + list(rule(stories))
    return found


def main(
    argv: list[str] | None = None,  # arguments; those of the command line when None
) -> int:  # exit code: 0 all rules kept, 1 some broken
    "Print one line per rule, and what breaks it; for the command `brainmtl-check`."
    parser = argparse.ArgumentParser(prog="brainmtl-check", description="Check the house rules of the notebooks.")
    parser.add_argument("root", nargs="?", default=".", help="the repository, by default the current folder")
    parser.add_argument("--fix", action="store_true", help="first write the line 'You are here' into every notebook")
    args = parser.parse_args(argv)
    for name in place(Path(args.root) / "nbs") if args.fix else []:
        print("wrote the place into", name)
    found = check_house(Path(args.root))
    for rule, lines in found.items():
        print("ok  " if not lines else "FAIL", rule.replace("_", " "))
        for line in lines:
            print("      ", line)
    return int(any(found.values()))
