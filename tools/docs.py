"""Render the API on the documentation site: one short signature and a table of parameters or fields per symbol.

settings.ini names this module: `renderer` for the symbols of an API page, `procs` for what is done to every page.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from importlib import import_module
from typing import Any

from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.showdoc import BasicMarkdownRenderer

Row = tuple[str, str, str]  # name, type, meaning
RETURNS = "**returns**"
LINE = 88  # columns of a signature that stays on one line


# --- what the package knows about a symbol ---------------------------------------------------------------------------


def as_function(sym: Any) -> Callable[..., Any] | None:
    "The function behind a function, method or property; None for anything else."
    if isinstance(sym, property | cached_property):
        sym = sym.fget if isinstance(sym, property) else sym.func
    sym = getattr(sym, "__func__", sym)
    return sym if inspect.isfunction(sym) else None


def resolve(module: str, name: str) -> Any:
    "An attribute of a module by its dotted name, without binding it; None when it is not there."
    found: Any = import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None)
    return found


@cache
def modules_of(name: str) -> tuple[str, ...]:
    "Modules of the package that define a symbol of this dotted name."
    syms = import_module("brainmtl._modidx").d["syms"]
    return tuple(module for module, known in syms.items() if f"{module}.{name}" in known)


def package_object(sym: Any, name: str) -> Any:
    "The package's own object for one that a notebook defined: that with the same documentation and parameters."
    found = [resolve(module, name) for module in modules_of(name)]
    same = [o for o in found if inspect.getdoc(o) == inspect.getdoc(sym)]
    return next(iter(same or found), sym)


# --- rows of a table -------------------------------------------------------------------------------------------------


def type_text(annotation: ast.AST | None) -> str:
    "An annotation as a reader writes it: `np.ndarray` is ndarray, and a quoted name is not quoted."
    text = ast.unparse(annotation).strip("'\"") if annotation is not None else ""
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text)


@cache
def parsed(code: Any) -> tuple[ast.AST, dict[int, str]]:
    "The definition of a class or function, and the comments on its lines; an empty body where there is no source."
    try:
        source = textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        return ast.parse(""), {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    return ast.parse(source).body[0], comments


def field_rows(cls: type) -> list[Row]:
    "Annotated public fields of a class with their comments."
    node, comments = parsed(cls)
    return [
        (n.target.id, type_text(n.annotation), comments.get(n.end_lineno or 0, ""))
        for n in getattr(node, "body", [])
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and not n.target.id.startswith("_")
    ]


def parameter_rows(function: Callable[..., Any]) -> list[Row]:
    "Parameters of a function with the comments on their last lines, and what it returns."
    node, comments = parsed(function)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    a = node.args
    plain = a.posonlyargs + a.args
    last = dict(zip(reversed([x.arg for x in plain]), reversed(a.defaults)))
    last |= {x.arg: d for x, d in zip(a.kwonlyargs, a.kw_defaults) if d is not None}
    named = [*plain, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]
    rows = [
        (x.arg, type_text(x.annotation), comments.get((last.get(x.arg) or x).end_lineno or 0, ""))
        for x in named
        if x.arg not in ("self", "cls")
    ]
    if node.returns is not None and not (isinstance(node.returns, ast.Constant) and node.returns.value is None):
        rows.append((RETURNS, type_text(node.returns), comments.get(node.returns.end_lineno or 0, "")))
    return rows


# --- links ---------------------------------------------------------------------------------------------------------


class Links(NbdevLookup):
    "Links only names that cannot be an ordinary word: with an underscore, a dot, a capital, or called with `()`."

    def _link_sym(self, m: re.Match) -> str:
        name = m.group(1)
        word = re.fullmatch(r"[a-z0-9]+", name) and not m.group(0).endswith("()`")
        before = m.string[m.start() - 1 : m.start()]
        return m.group(0) if word or before == "[" else super()._link_sym(m)


# --- Markdown --------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    "Escape what Markdown would read inside a cell; code spans stay."
    parts = re.split(r"(`[^`]*`)", re.sub(r"\s+", " ", text))
    special = r"([\\*_\[\]<>|$@#^~])"
    return "".join(p.replace("|", r"\|") if p[:1] == "`" else re.sub(special, r"\\\1", p) for p in parts)


def linked(text: str, lookup: NbdevLookup) -> str:
    "A type with its classes linked to their pages."
    parts = re.split(r"([A-Za-z_]\w*)", text)
    urls = (lookup.doc(p) if p[:1].isupper() and modules_of(p) else None for p in parts)
    return "".join(f"[{p}]({url})" if url else escape(p) for p, url in zip(parts, urls))


def table(rows: list[Row], lookup: NbdevLookup, what: str) -> str:
    "Rows as a Markdown table, a lone return value as a line; empty without rows."
    cells = [(n, linked(t, lookup), lookup.linkify(escape(m))) for n, t, m in rows]
    if len(cells) == 1 and cells[0][0] == RETURNS:
        return f"{RETURNS} {cells[0][1]}" + (f": {cells[0][2]}" if cells[0][2] else "")
    lines = [f"| {n if n == RETURNS else f'`{n}`'} | {kind} | {meaning} |" for n, kind, meaning in cells]
    return "\n".join([f"| {what} | type | meaning |", "|----|-----|-----------|", *lines]) if lines else ""


def signature(function: Callable[..., Any], name: str) -> str:
    "A call with names and defaults only; types are in the table."
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    # a default that is a class or a function by its name
    text = re.sub(r"<(?:class '|function )?(?:\w+\.)*(\w+)[^>]*>", r"\1", str(inspect.Signature(bare)))
    text = re.sub(r"\bPosixPath\((.*?)\)", r"\1", text)
    if len(name + text) > LINE:
        inner = textwrap.wrap(text[1:-1], LINE - 4, break_long_words=False, break_on_hyphens=False)
        text = "(\n" + "\n".join(f"    {line}" for line in inner) + "\n)"
    return f"```python\n{name}{text}\n```"


def first_italic(doc: str) -> str:
    "The first paragraph of a docstring in italics."
    head, _, rest = inspect.cleandoc(doc).partition("\n\n")
    return f"*{' '.join(head.split())}*" + (f"\n\n{rest}" if rest else "")


def function_text(sym: Any, name: str, lookup: NbdevLookup) -> str:
    "Signature, docstring and table of a function, method or property."
    function = as_function(sym)
    if function is None:
        return ""
    rows = parameter_rows(function)
    head = "" if isinstance(sym, property | cached_property) else signature(function, name)
    return "\n\n".join(filter(None, [head, first_italic(function.__doc__ or ""), table(rows, lookup, "parameter")]))


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    "Public methods and properties that the body of a class defines; patched ones have a section of their own."
    for node in getattr(parsed(cls)[0], "body", []):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            not node.name.startswith("_") or node.name == "__call__"
        ):
            yield node.name, cls.__dict__.get(node.name)


def class_text(cls: type, name: str, lookup: NbdevLookup, level: int) -> str:
    "Signature, docstring and fields of a class, then its methods."
    fields = field_rows(cls)
    init = cls.__dict__.get("__init__")
    own = as_function(init) if init is not None and not fields else None
    parts = [signature(own, name) if own else "", first_italic(cls.__doc__ or "")]
    parts.append(table(parameter_rows(own) if own else fields, lookup, "parameter" if own else "field"))
    for method, sym in methods(cls):
        if text := function_text(sym, f"{name}.{method}", lookup):
            parts.append(f"{'#' * (level + 1)} {name}.{method}\n\n{text}")
    return "\n\n".join(filter(None, parts))


def source_link(shown: Any) -> str:
    "A link to the lines of the module; empty for what is not in the package."
    code = shown if inspect.isclass(shown) else as_function(shown)
    module = getattr(code, "__module__", "")
    if code is None or not module.startswith("brainmtl"):
        return ""
    config = get_config()
    place = f"{config.git_url}/blob/{config.branch}/{module.replace('.', '/')}.py#L{inspect.getsourcelines(code)[1]}"
    return f'[source]({place}){{target="_blank" style="float:right; font-size:smaller"}}'


class Renderer(BasicMarkdownRenderer):
    "What an API page shows of a symbol."

    def __init__(self, sym: Any, name: str | None = None, title_level: int = 3):
        super().__init__(sym, name, title_level)
        self.shown = package_object(sym, self.nm)

    def _repr_markdown_(self) -> str:
        lookup = Links()
        link = source_link(self.shown)
        if inspect.isclass(self.shown):
            text = class_text(self.shown, self.nm, lookup, self.title_level)
        else:
            text = function_text(self.shown, self.nm, lookup)
        return "\n\n".join(filter(None, ["---", link, f"{'#' * self.title_level} {self.nm}", text]))


# --- every page ------------------------------------------------------------------------------------------------------


def link_symbols(cell: Any) -> None:
    "Link backticked names in prose and in Markdown outputs, in place of nbdev's processor of every word."
    lookup = Links()
    if cell.cell_type == "markdown":
        cell.source = lookup.linkify(cell.source)
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/markdown" in data:
            data["text/markdown"] = [lookup.link_line(line) for line in data["text/markdown"]]


def plain_html(cell: Any) -> None:
    "Show HTML outputs as Markdown with raw HTML: for the others Quarto loads jQuery and require.js from elsewhere."
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "text/html" in data and "text/markdown" not in data:
            html = "".join(data.pop("text/html"))
            data["text/markdown"] = [f"```{{=html}}\n{html}\n```\n"]


# --- check -----------------------------------------------------------------------------------------------------------


def unshown_fields() -> Iterator[str]:
    "Fields of public classes that their page lacks; modules whose extra is not installed are left out."
    for module, symbols in import_module("brainmtl._modidx").d["syms"].items():
        try:
            import_module(module)
        except ModuleNotFoundError:
            continue
        for name in (s.removeprefix(f"{module}.") for s in symbols):
            cls = resolve(module, name)
            if inspect.isclass(cls) and not name.startswith("_"):
                page = Renderer(cls)._repr_markdown_()
                own = [f for f in getattr(cls, "__annotations__", {}) if not f.startswith("_")]
                yield from (f"{module}.{name}.{f}" for f in own if not re.search(rf"\| `{f}` \|.*\| [^|\s].* \|", page))
