"""Small lies about a module: each mutant is its syntax tree with one thing changed.

What only people read is left alone: docstrings, annotations, `repr`, log lines, and the sentences
of errors. Everything else that is compared, computed, returned, raised or called is fair game.
"""

from __future__ import annotations

import ast

_COMPARE = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BINARY = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip
_WORDS = ("Error", "Refused", "Mismatch", "_refused", "_not_owned", "Incompatible")
_UNTOUCHED = ("__repr__", "__str__", "__all__", "_RULE", "_KEY_RULE")


def places(source: str) -> list[tuple[int, str]]:
    """Line and change of every mutant of a module, by number."""
    mutator = _Mutator(-1)
    mutator.visit(ast.parse(source))
    return mutator.seen


def count(source: str) -> int:
    """How many mutants a module has."""
    return len(places(source))


def mutant(source: str, number: int) -> tuple[int, str, ast.Module]:
    """Return one of them."""
    mutator = _Mutator(number)
    tree = mutator.visit(ast.parse(source))
    assert mutator.done is not None, "no such mutant"
    return (*mutator.done, ast.fix_missing_locations(tree))


class _Mutator(ast.NodeTransformer):
    """Changes the n-th place that can be changed; with n = -1 it only counts them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: list[tuple[int, str]] = []
        self.done: tuple[int, str] | None = None

    def _here(self, node: ast.AST, what: str) -> bool:
        self.seen.append((node.lineno, what))  # type: ignore[attr-defined] # nodes of code
        if len(self.seen) - 1 != self.number:
            return False
        self.done = self.seen[-1]
        return True

    # -- what is left alone

    def visit_FunctionDef(self, node):
        if node.name in _UNTOUCHED:
            return node
        node.args.defaults = [self.visit(d) for d in node.args.defaults]
        node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        node.body = self._block(node.body)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        node.body = self._block(node.body)
        return node

    def visit_AnnAssign(self, node):
        name = node.target.id if isinstance(node.target, ast.Name) else ""
        if node.value is not None and name not in _UNTOUCHED:
            node.value = self.visit(node.value)
        return node

    def visit_JoinedStr(self, node):
        return node

    def visit_Assign(self, node):
        names = [t.id for t in node.targets if isinstance(t, ast.Name)]
        alias = isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr)
        kept = alias or set(names) & {*_UNTOUCHED, "__slots__"}  # `A | B`: a name for types
        return node if kept else self.generic_visit(node)

    def _block(self, body):
        return [self.visit(statement) for statement in body]

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant) or ast.unparse(node).startswith("log."):
            return node
        if self._here(node, f"deleted: {ast.unparse(node)[:60]}"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_Raise(self, node):
        if self._here(node, f"deleted: {ast.unparse(node)[:60]}"):
            return ast.copy_location(ast.Pass(), node)
        return node  # its words are for people

    def visit_AugAssign(self, node):
        if self._here(node, f"deleted: {ast.unparse(node)[:60]}"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_keyword(self, node):
        return node if node.arg == "rule" else self.generic_visit(node)

    def visit_Call(self, node):
        name = ast.unparse(node.func)
        return node if name.endswith(_WORDS) else self.generic_visit(node)

    # -- what is changed

    def visit_Return(self, node):
        plain = isinstance(node.value, ast.Constant) and node.value.value is None
        if node.value is not None and not plain and self._here(node, "returns None"):
            node.value = ast.copy_location(ast.Constant(None), node.value)
            return node
        return self.generic_visit(node)

    def _condition(self, node):
        if not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)) and self._here(
            node, f"negated: {ast.unparse(node.test)[:60]}"
        ):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return node
        return self.generic_visit(node)

    visit_If = visit_IfExp = visit_While = _condition

    def visit_Compare(self, node):
        for at, operator in enumerate(node.ops):
            if self._here(node, f"other comparison: {ast.unparse(node)[:60]}"):
                node.ops[at] = _COMPARE[type(operator)]()
                return node
        return self.generic_visit(node)

    def visit_BoolOp(self, node):
        if self._here(node, f"and/or: {ast.unparse(node)[:60]}"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return node
        return self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not) and self._here(node, f"no not: {ast.unparse(node)[:60]}"):
            return node.operand
        return self.generic_visit(node)

    def visit_BinOp(self, node):
        if type(node.op) in _BINARY and self._here(node, f"arithmetic: {ast.unparse(node)[:60]}"):
            node.op = _BINARY[type(node.op)]()
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        other = {
            bool: lambda: not value, int: lambda: value + 1, float: lambda: value + 1.0,
            bytes: lambda: value + b"!", str: lambda: value + "!",
        }.get(type(value))  # fmt: skip
        if other is not None and self._here(node, f"{value!r:.40} became another"):
            return ast.copy_location(ast.Constant(other()), node)
        return node

    def visit_Break(self, node):
        if self._here(node, "break became continue"):
            return ast.copy_location(ast.Continue(), node)
        return node

    def visit_Continue(self, node):
        if self._here(node, "continue became break"):
            return ast.copy_location(ast.Break(), node)
        return node
