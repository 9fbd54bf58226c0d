"""Prompt templates: a small, metered part of Jinja, for templates and rows that nobody vouches for.

Guarantees: a template reads the row and nothing else; whatever it says, rendering ends, within `metering.WORK` units of
work and memory (a character looked at, copied or made is one unit; all of it takes well under a second). This needs no
process and no clock, so the same template and row always give the same text or the same error. A name that the row does
not have, and a value that is null, are errors: neither turns silently into text.

How: the parsed template may hold only the nodes in `_ALLOWED`; every value that is shown, compared, joined, listed or
looped over, and every filter, test and call goes through the meter, which is set up afresh for each rendering.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from jinja2 import Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from harness.errors import UserError
from harness.suite.explain import quoted, suggest
from harness.suite.metering import AN_EXPRESSION, ENVIRONMENT, FILTERS, TESTS, RefusedError, unknown_word
from harness.suite.source import show

MAX_TEMPLATE = 100_000
"""Characters of a template."""

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Call, nodes.Keyword, nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.For, nodes.Assign,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.BinExpr, nodes.UnaryExpr, nodes.Concat,
    nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.With,
)  # fmt: skip
_STATEMENTS = {
    nodes.Macro: "macro", nodes.CallBlock: "call", nodes.FilterBlock: "filter", nodes.AssignBlock: "set (as a block)",
    nodes.Block: "block", nodes.Extends: "extends", nodes.Include: "include", nodes.Import: "import",
    nodes.FromImport: "import", nodes.ScopedEvalContextModifier: "autoescape",
}  # fmt: skip
_UNUSABLE = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
_NAME_IN_MESSAGE = re.compile(r"'(.*)' is undefined")


class TemplateMistake(Exception):
    """Raised for a template that cannot be used whatever the row; `line` counts from 1 within the template."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


def render_prompt(template: str, variables: Mapping[str, object], *, max_chars: int = 200_000) -> str:
    """The text a template makes of a row, at most `max_chars` characters; raises UserError, in one line."""
    try:
        compiled, _ = _compile(template)
    except TemplateMistake as mistake:
        raise UserError(f"the prompt {mistake}") from None
    try:
        return _collect(compiled.generate({str(key): value for key, value in variables.items()}), max_chars)
    except UndefinedError as error:
        raise UserError(_undefined_message(str(error), variables)) from None
    except RefusedError as error:
        raise UserError(f"the prompt {error}") from None
    except _UNUSABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the prompt cannot be made from this row: {show(reason)}") from None


def check_template(template: str) -> frozenset[str]:
    """The names a template takes from the row; raises TemplateMistake."""
    return _compile(template)[1]


def _collect(pieces: Iterable[str], max_chars: int) -> str:
    collected: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > max_chars:
            message = f"must make at most {max_chars:,} characters (got more). Cut it, as with {{{{ input[:2000] }}}}"
            raise RefusedError(message)
        collected.append(piece)
    return "".join(collected)


def _undefined_message(reason: str, variables: Mapping[str, object]) -> str:
    match = _NAME_IN_MESSAGE.search(reason)
    if match is None:
        return f"the prompt uses something that this row does not have: {show(reason)}"
    names = sorted(str(name) for name in variables)
    near = suggest(match[1], names)
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"the prompt uses {match[1]!r}, which is no column of the data. There is {quoted(names, 'and')}{hint}"


# ----------------------------------------------------------------------------------------------------------- compiling


@lru_cache(maxsize=64)
def _compile(template: str) -> tuple[Template, frozenset[str]]:
    if len(template) > MAX_TEMPLATE:
        raise TemplateMistake(f"must be at most {MAX_TEMPLATE:,} characters (got {len(template):,})")
    try:
        tree = _checked(ENVIRONMENT.parse(template))
        names = frozenset(find_undeclared_variables(tree)) - {"range"}
        code = ENVIRONMENT.compile(_Metering().visit(tree))
        return Template.from_code(ENVIRONMENT, code, {**ENVIRONMENT.globals}), names
    except TemplateSyntaxError as error:
        where = f" (line {error.lineno} of the template)" if "\n" in template.strip() else ""
        raise TemplateMistake(f"is not a valid template: {error.message}{where}", error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError):
        raise TemplateMistake("is not a valid template: it is nested too deep, or holds too long a number") from None


def _checked(tree: nodes.Template) -> nodes.Template:
    """The tree, if it holds only what a prompt may; raises TemplateMistake."""
    for node in _walk(tree):
        if not isinstance(node, _ALLOWED):
            word = next((word for kind, word in _STATEMENTS.items() if isinstance(node, kind)), type(node).__name__)
            message = f"must do without '{{% {word} %}}'. A prompt may use if, for, set and with"
            raise TemplateMistake(message, node.lineno)
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateMistake("must do without recursive loops", node.lineno)
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise TemplateMistake(unknown_word("filter", node.name, FILTERS), node.lineno)
        if isinstance(node, nodes.Test) and node.name not in TESTS:
            raise TemplateMistake(unknown_word("test", node.name, TESTS), node.lineno)
        if isinstance(node, nodes.Name) and node.name.startswith("_"):
            raise TemplateMistake(f"must not use names that begin with '_' (got {node.name!r})", node.lineno)
    return tree


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for below in node.iter_child_nodes():
        yield from _walk(below)


class _Metering(NodeTransformer):
    """Puts the meter between the parts of a template that could otherwise cost anything unseen."""

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        shown: list[nodes.Expr] = []
        for part in node.nodes:
            label = nodes.Const(_label(part))
            shown.append(part if isinstance(part, nodes.TemplateData) else _filter(part, "_shown", [label]))
        node.nodes = shown
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        parts = [*node.body, *([node.test] if node.test else [])]
        cost = sum(_weight(below) for part in parts for below in _walk(part))
        self.generic_visit(node)
        node.iter = _filter(node.iter, "_loop", [nodes.Const(cost)])
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, "_weigh")
        for operand in node.ops:
            operand.expr = _filter(operand.expr, "_weigh")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_join")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, "_weigh")
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_weigh")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_weigh")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return node if node.ctx == "store" else _filter(node, "_weigh")


def _filter(node: nodes.Node, name: str, arguments: list[nodes.Expr] | None = None) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, arguments or [], [], None, None, lineno=node.lineno)


def _label(node: nodes.Node) -> str:
    """An expression as a person would point at it."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return f"{_label(node.node)}.{node.attr}"
    return _label(node.node) if isinstance(node, nodes.Getitem | nodes.Filter) and node.node else AN_EXPRESSION


def _weight(node: nodes.Node) -> int:
    """What a node costs each time round a loop, beside what the meter counts."""
    return 1 + (len(node.data) if isinstance(node, nodes.TemplateData) else 0)
