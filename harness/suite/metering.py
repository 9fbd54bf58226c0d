"""The meter behind prompt templates: filters, tests, calls and operators that pay for what they take and give.

Knows values, not templates: `template` decides which nodes a prompt may hold, and puts `_shown`, `_weigh`, `_loop` and
`_join` between them. A rendering that has spent WORK units is refused, wherever it is.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context

from harness.suite.explain import suggest
from harness.suite.source import show

WORK = 1_000_000
"""Units a rendering may spend: characters looked at, copied or made."""

ELEMENT = 4
"""Units of an element of a list or mapping, beside its characters."""

MAX_INT_BITS = 1024

AN_EXPRESSION = "an expression"
"""What a message calls a value that has no name."""

_JINJAS_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "string",
    "title", "truncate", "upper", "wordcount",
)  # fmt: skip
TESTS = (
    "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge", "gt", "in", "integer",
    "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string", "true",
    "undefined", "upper", "==", "!=", "<", "<=", ">", ">=", "greaterthan", "lessthan",
)  # fmt: skip
_METHODS: dict[type, tuple[str, ...]] = {
    str: (
        "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "rsplit", "splitlines",
        "startswith", "endswith", "removeprefix", "removesuffix", "find", "count", "isdigit", "isalpha", "isalnum",
        "isupper", "islower", "isspace",
    ),
    dict: ("get", "keys", "values", "items"),
    LoopContext: ("index", "index0", "revindex", "revindex0", "first", "last", "length", "cycle"),
}  # fmt: skip
_STRIPPING = ("strip", "lstrip", "rstrip")
_SHOWN = (str, int, float, list, tuple, dict, datetime.date, datetime.time, Decimal)


class RefusedError(Exception):
    """Raised inside a rendering that asks for what a prompt may not have, or has used up its work."""


def unknown_word(what: str, name: str, names: Iterable[str]) -> str:
    """The message for a filter or test that a prompt does not have."""
    near = suggest(name, names)
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"must not use the {what} {name!r}{hint}. There is {', '.join(sorted(names))}"


class _MeteredContext(Context):
    """A rendering: the row, and the work that is left."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.left = WORK

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise RefusedError("must need less work: it loops too long, or makes too long a text. Make it simpler")

    def weigh(self, value: Any) -> Any:
        """Spends the size of a value, and gives it back."""
        self.spend(_size(value, self.left))
        return value


def _size(value: Any, limit: int) -> int:
    """Characters and elements of a value, counted no further than just past `limit`."""
    if isinstance(value, str):
        return len(value) + 1
    total, rest = 0, [value]
    while rest and total <= limit:
        item = rest.pop()
        total += ELEMENT
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, list | tuple | set | frozenset | dict):
            if len(item) * ELEMENT > limit - total:
                return limit + 1
            rest.extend(item)
            if isinstance(item, dict):
                rest.extend(item.values())
        elif isinstance(item, Undefined) and item is not value:
            str(item)  # raises with the name: a list never hides what is missing
        elif isinstance(item, int):
            total += item.bit_length() // 8
    return total


@pass_context
def _shown(context: _MeteredContext, value: Any, label: str) -> str:
    """A value on its way into the text."""
    if value is None:
        way_out = f"Write {{{{ {label} or '' }}}}" if label != AN_EXPRESSION else "Write (… or '')"
        raise RefusedError(f"must not show a null (got one for {label}). {way_out}, or leave such rows out")
    if isinstance(value, Undefined):
        return str(value)  # raises with the name
    if not isinstance(value, _SHOWN):
        raise RefusedError(f"must show texts, numbers, dates and lists (got {type(value).__name__} for {label})")
    context.weigh(value)
    return str(value)


@pass_context
def _weigh(context: _MeteredContext, value: Any) -> Any:
    return context.weigh(value)


@pass_context
def _loop(context: _MeteredContext, value: Any, cost: int) -> Iterator[Any] | Undefined:
    if isinstance(value, Undefined):
        return value
    return _ticking(context, context.weigh(value), cost)


def _ticking(context: _MeteredContext, value: Iterable[Any], cost: int) -> Iterator[Any]:
    for item in value:
        context.spend(1 + cost)
        yield item


@pass_context
def _join(context: _MeteredContext, values: list[Any]) -> str:
    """What `~` does: texts one after another."""
    return "".join(_shown(context, value, AN_EXPRESSION) for value in values)


def _replace(context: _MeteredContext, value: Any, old: str, new: str, count: int | None = None) -> str:
    """`replace`: like Jinja's, with its growth paid before it is made."""
    text, old, new = str(value), str(old), str(new)
    times = text.count(old) if count is None else min(text.count(old), count)
    context.spend(max(0, times * (len(new) - len(old))))
    return text.replace(old, new, -1 if count is None else count)


def _join_filter(context: _MeteredContext, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    """`join`: like Jinja's, with the separators paid before they are made."""
    items = list(value)
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    context.spend(len(items) * len(str(d)))
    return str(d).join(_shown(context, item, AN_EXPRESSION) for item in items)


def _sum_filter(context: _MeteredContext, value: Iterable[Any], attribute: str | None = None) -> float:
    """`sum`: of numbers alone."""
    items = value if attribute is None else [context.environment.getitem(item, attribute) for item in value]
    return sum(_numbers(items))


def _round_filter(context: _MeteredContext, value: Any, precision: int = 0) -> float:
    """`round`: to at most 20 digits on either side of the point."""
    return round(float(value), max(-20, min(20, int(precision))))


def _tojson_filter(context: _MeteredContext, value: Any, indent: int | None = None) -> str:
    """`tojson`: JSON as it is, without Jinja's escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=None if indent is None else max(0, min(8, int(indent))))


def _trim_filter(context: _MeteredContext, value: Any, chars: str | None = None) -> str:
    """`trim`: strips white space, or any of some characters."""
    return str(value).strip(_few(chars))


def _few(chars: str | None) -> str | None:
    if chars is not None and len(chars) > 100:
        raise RefusedError(f"must strip at most 100 different characters (got {len(chars):,})")
    return chars


def _numbers(items: Iterable[Any]) -> Iterator[float]:
    for item in items:
        if not isinstance(item, int | float):
            raise RefusedError(f"must calculate with numbers (got {show(item)})")
        yield item


def _own(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of ours, which gets the rendering first and pays for what it takes and gives."""

    def metered(context: _MeteredContext, *arguments: Any, **options: Any) -> Any:
        for value in (*arguments, *options.values()):
            context.weigh(value)
        return context.weigh(function(context, *arguments, **options))

    return pass_context(metered)


def _jinjas(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test of Jinja's, made to pay for what it takes and gives."""
    passed = getattr(function, "jinja_pass_arg", None)

    def metered(context: _MeteredContext, *arguments: Any, **options: Any) -> Any:
        for value in (*arguments, *options.values()):
            context.weigh(value)
        first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        given = (first[passed.name], *arguments) if passed is not None else arguments
        result = function(*given, **options)
        return context.weigh(list(result) if isinstance(result, Iterator) else result)

    return pass_context(metered)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja with what a prompt may use, and nothing else."""

    context_class = _MeteredContext
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only the methods in `_METHODS`: no other attribute of anything is ever seen."""
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        """Says at once what may not be used, and what may."""
        instead = f". Write | {attribute}" if attribute in FILTERS else ""
        raise RefusedError(f"must not use '.{attribute}' of a value{instead}")

    def call_filter(self, name: str, *arguments: Any, **options: Any) -> Any:
        """A filter that is named by a value, as in `map`."""
        if name not in FILTERS:
            raise RefusedError(unknown_word("filter", name, FILTERS))
        return super().call_filter(name, *arguments, **options)

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is no method of a prompt, so there is nothing to wrap."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers of a sane length; `+` and `*` on texts and lists too, paid before they grow."""
        assert isinstance(context, _MeteredContext)
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return str(left) + str(right)  # raises with the name
        if isinstance(left, str | list | tuple) and operator in "+*":
            grown = _size(left, context.left) * (right if operator == "*" and isinstance(right, int) else 1)
            context.spend(max(0, grown))
            context.weigh(right)
        elif isinstance(left, int) and isinstance(right, str | list) and operator == "*":
            return self.call_binop(context, operator, right, left)
        else:
            _refuse_large([*_numbers([left, right])], operator)
        return self.binop_table[operator](left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls `range` or one of `_METHODS`."""
        assert isinstance(__context, _MeteredContext)
        if isinstance(__obj, Undefined):
            return __obj()  # raises with the name
        for value in (*args, *kwargs.values()):
            __context.weigh(value)
        if __obj is range:
            numbers = range(*args)
            __context.spend(len(numbers))
            return list(numbers)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if owner is None or not __self.is_safe_attribute(owner, name, __obj):
            raise RefusedError(f"must not call {show(name or str(type(__obj).__name__))}")
        __context.weigh(owner)
        if name in _STRIPPING and args:
            _few(args[0])
        result = __obj(*args, **kwargs)
        return __context.weigh(list(result) if isinstance(owner, dict) and name != "get" else result)


def _refuse_large(numbers: list[float], operator: str) -> None:
    bits = [number.bit_length() for number in numbers if isinstance(number, int)]
    grown = bits[0] * abs(numbers[1]) if operator == "**" and bits else sum(bits)
    if grown > MAX_INT_BITS:
        raise RefusedError(f"must calculate with numbers of at most {MAX_INT_BITS} bits")


_OUR_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _join_filter,
    "replace": _replace,
    "round": _round_filter,
    "sum": _sum_filter,
    "tojson": _tojson_filter,
    "trim": _trim_filter,
}
FILTERS = (*_JINJAS_FILTERS, *_OUR_FILTERS)
"""The filters a prompt may use."""


def _build_environment() -> _Environment:
    environment = _Environment(undefined=StrictUndefined, autoescape=False, cache_size=0)
    theirs: Mapping[str, Any] = environment.filters
    tests: Mapping[str, Any] = environment.tests
    filters = {name: _jinjas(theirs[name]) for name in _JINJAS_FILTERS}
    ours = {name: _own(function) for name, function in _OUR_FILTERS.items()}
    between = {"_shown": _shown, "_weigh": _weigh, "_loop": _loop, "_join": _join}
    environment.filters = {**filters, **ours, **between}
    environment.tests = {name: _jinjas(tests[name]) for name in TESTS}
    environment.globals = {"range": range}
    return environment


ENVIRONMENT = _build_environment()
