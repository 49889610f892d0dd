"A mypy plugin for fastcore's `@patch`: what is patched into a class further down in the same module is known as an attribute of that class."

from collections.abc import Iterator

from mypy.nodes import MDEF, AssignmentStmt, CallExpr, Decorator, MemberExpr, NameExpr, SymbolTableNode, TupleExpr, Var
from mypy.plugin import ClassDefContext, Plugin
from mypy.types import AnyType, TypeOfAny, UnboundType


def patched(node: Decorator) -> str:
    "Name of the class a function is patched into; empty when it is no patch."
    used = [d.callee if isinstance(d, CallExpr) else d for d in node.original_decorators]
    names = {d.name for d in used if isinstance(d, NameExpr)}
    kind = node.func.unanalyzed_type or node.func.type
    owner = kind.arg_types[0] if kind and getattr(kind, "arg_types", None) else None
    return owner.name if "patch" in names and isinstance(owner, UnboundType) else ""


def given(node: Decorator) -> Iterator[str]:
    "Names that a patched method gives its object: its own, and those it assigns as `self.name = …`."
    yield node.func.name
    for line in node.func.body.body:
        if not isinstance(line, AssignmentStmt):
            continue
        targets = [t for left in line.lvalues for t in (left.items if isinstance(left, TupleExpr) else [left])]
        yield from (
            t.name
            for t in targets
            if isinstance(t, MemberExpr) and isinstance(t.expr, NameExpr) and t.expr.name == "self"
        )


def add_patched(ctx: ClassDefContext) -> None:
    "Give a class the names that are patched into it; their types stay unknown."
    info = ctx.cls.info
    nodes = [n for n in ctx.api.cur_mod_node.defs if isinstance(n, Decorator) and patched(n) == info.name]  # type: ignore[attr-defined]
    for name in (name for node in nodes for name in given(node) if name not in info.names):
        var = Var(name, AnyType(TypeOfAny.special_form))
        var.info, var._fullname = info, f"{info.fullname}.{name}"
        info.names[name] = SymbolTableNode(MDEF, var)


class PatchPlugin(Plugin):
    "Look at every class of the package."

    def get_customize_class_mro_hook(self, fullname: str):
        return add_patched if fullname.startswith("brainmtl.") else None


def plugin(version: str):
    "Entry point for mypy."
    return PatchPlugin
