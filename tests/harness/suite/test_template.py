"""Prompts: what they may do, and that nothing they may say costs more than it should."""

from __future__ import annotations

import resource
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.suite.template import FILTERS, TemplateMistake, check_template, render_prompt

ROW = {
    "Patient": "I cough.",
    "input": "I cough.",
    "gone": None,
    "xs": ["a", "b"],
    "d": {"k": 1},
    "n": 3,
    "big": "x" * 100_000,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("As a doctor: {{ input }}", "As a doctor: I cough."),
        ("{{ gone or 'none' }}", "none"),
        (
            "{% for x in xs %}{{ loop.index }}. {{ x|upper }}{% if not loop.last %}, {% endif %}{% endfor %}",
            "1. A, 2. B",
        ),
        ("{% for x in xs if x == 'b' %}{{ x }}{% endfor %}", "b"),
        ("{{ xs|join(', ') }}", "a, b"),
        ("{{ d.k }}{{ d['k'] }}{{ d.get('k') }}", "111"),
        ("{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "k=1"),
        ("{{ d|tojson }} {{ '<é>'|tojson }}", '{"k": 1} "<é>"'),
        ("{{ 'a' ~ n ~ input }}", "a3I cough."),
        (
            "{{ n + 1 }} {{ n * 2 }} {{ 2 ** 10 }} {{ '-' * 5 }} {{ -n }} {{ 7 // 2 }} {{ 7 % 2 }}",
            "4 6 1024 ----- -3 3 1",
        ),
        ("{{ missing|default('x') }}{% if missing is defined %}y{% endif %}", "x"),
        ("{% set y = input %}{{ y[:3] }}{{ y.split()|length }}", "I c2"),
        ("{{ xs|map('upper')|list }}{{ [1, 2]|sum }}{{ 3.14159|round(2) }}", "['A', 'B']33.14"),
        ("{{ input|replace('cough', 'sneeze')|trim('.') }}", "I sneeze"),
        ("{{ 'cough' in input }} {{ n == 3 }} {{ 'A' if n > 2 else 'B' }}", "True True A"),
        ("{% with a = n %}{{ a }}{% endwith %}{% raw %}{{ x }}{% endraw %}{# no #}", "3{{ x }}"),
        ("a\n", "a"),
        ("<b>{{ '<' }}</b>", "<b><</b>"),
    ],
)
def test_what_a_prompt_may_say(template, text):
    """The useful part of Jinja works as in Jinja, without HTML escapes."""
    assert render_prompt(template, ROW) == text


def test_a_row_is_text_and_never_template():
    """Braces within a row stay as they are."""
    assert render_prompt("{{ input }}", {"input": "{{ 7 * 7 }}{% for %}"}) == "{{ 7 * 7 }}{% for %}"


def test_a_missing_column_is_named_with_the_nearest():
    """An undefined variable gives its name, what there is, and what may be meant."""
    with pytest.raises(UserError, match=r"'Patientt', which is no column .*'Patient'.*did you mean 'Patient'"):
        render_prompt("{{ Patientt }}", ROW)
    for template in (
        "{{ nope.x }}",
        "{{ nope() }}",
        "{{ nope|upper }}",
        "{{ nope + 1 }}",
        "{{ nope == 1 }}",
        "{{ 'a' ~ nope }}",
    ):
        with pytest.raises(UserError, match="'nope', which is no column"):
            render_prompt(template, ROW)


def test_a_null_is_never_shown():
    """None would turn into the word None; it is an error instead."""
    with pytest.raises(UserError, match=r"null \(got one for gone\). Write \{\{ gone or '' \}\}"):
        render_prompt("{{ gone }}", ROW)
    with pytest.raises(UserError, match="null"):
        render_prompt("{{ 'a' ~ gone }}", ROW)


ATTACKS = [
    "{{ 'x' * 10**9 }}",
    "{{ 10**9 * 'x' }}",
    "{{ [1] * 10**9 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '{:1000000000d}'.format(1) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ 2 ** (10**9) }}",
    "{{ 1.5 ** (10**9) }}",
    "{{ 1|round(10**9, 'ceil') }}",
    "{{ range(10**18)|list }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(999) %}{% for j in range(999) %}{% for k in range(999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% set a = range(9999)|sort %}{% endfor %}",
    "{% for i in range(9999) %}{% if big in big %}{% endif %}{% endfor %}",
    "{% for i in range(9999) %}{{ big[1:] }}{% endfor %}",
    "{% for i in range(9999) %}" + "y" * 50_000 + "{% endfor %}",
    "{% set x = 'aaaa' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
    "{% set x = 'aaaa' %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = (x, x) %}" * 60 + "{{ x == x }}",
    "{% set x = {} %}" + "{% set x = {1: x, 2: x} %}" * 60 + "{{ x }}",
    "{% set x = [1] %}" + "{% set x = [x, x]|list %}" * 60 + "{{ x|tojson }}",
    "{{ big|replace('x', big) }}",
    "{{ big.replace('x', big) }}",
    "{{ xs|join(big * 40) }}",
    "{{ ''.join(xs) }}",
    "{{ [[1]]|sum(start=[]) }}",
    "{{ input.strip('a' * 1000) }}",
    "{{ input|trim('a' * 1000) }}",
    "{{ range(0, 2305843009213693951 * 9, 2305843009213693951)|unique|list }}",
    "{{ lipsum(n=10**6) }}",
    "{{ cycler('a').next() }}",
    "{{ joiner('a')() }}",
    "{% set ns = namespace(a=1) %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% block b %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x %}x{% endset %}",
    "{% autoescape true %}x{% endautoescape %}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ input|attr('__class__') }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ [1]|map('attr', '__class__')|list }}",
    "{{ xs|map('_shown', 1)|list }}",
    "{{ range.__globals__ }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ loop.__init__.__globals__ }}",
    "{% for x in xs %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in xs %}{{ loop._iterator }}{% endfor %}",
    "{{ xs.append('c') }}",
    "{{ d.update({1: 2}) }}",
    "{{ d.clear() }}",
    "{{ _x }}",
    "{% set _shown = 1 %}",
    "{{ input.encode() }}",
    "{{ (-8) ** 0.5 }}",
    "{{ 1 / 0 }}",
    "{{ range(1.5) }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "[" * 3000 + " }}",
    "{{ 1" + " + 1" * 5000 + " }}",
    "{{ " + "9" * 5000 + " }}",
    "{% for a in xs %}" * 30 + "{% endfor %}" * 30,
    "x" * 100_001,
    "{{ input",
    "{{ a b }}",
    "{% if %}",
    "{% endfor %}",
    "{{ 'a'|uper }}",
    "{{ 1 is evven }}",
]


@pytest.mark.parametrize("template", ATTACKS, ids=[f"{i}-{t[:30]}" for i, t in enumerate(ATTACKS)])
def test_attacks_end_soon_in_one_line(template):
    """Whatever a template tries, it ends within seconds, in bounded memory, as a user's error of one line."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(UserError) as caught:
        render_prompt(template, ROW)
    assert time.process_time() - started < 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the prompt ")


def test_a_hostile_row_cannot_cost_more_either():
    """Long and nested rows are metered like everything else."""
    deep: list[object] = []
    for _ in range(50):
        deep = [deep, deep]
    for template in (
        "{{ input }}",
        "{{ input == input }}",
        "{{ input|tojson }}",
        "{{ input|sort }}",
        "{% for x in input %}{{ x }}{% endfor %}",
    ):
        with pytest.raises(UserError):
            render_prompt(template, {"input": deep})
    with pytest.raises(UserError, match="at most 200,000 characters"):
        render_prompt("{{ input }}", {"input": "x" * 200_001})
    assert len(render_prompt("{{ input[:10] }}", {"input": "x" * 500_000})) == 10


def test_the_output_limit_is_exact():
    """`max_chars` characters pass, one more does not."""
    assert len(render_prompt("{{ input }}b", {"input": "a" * 9}, max_chars=10)) == 10
    with pytest.raises(UserError, match="at most 10 characters"):
        render_prompt("{{ input }}b", {"input": "a" * 10}, max_chars=10)


def test_checking_tells_the_names_and_the_line():
    """`check_template` gives the columns a template takes, and the line of a mistake."""
    assert check_template("{{ a }}{% for b in c %}{{ b }}{% endfor %}{{ range(3) }}") == {"a", "c"}
    with pytest.raises(TemplateMistake) as caught:
        check_template("a\nb\n{{ a | uper }}")
    assert caught.value.line == 3


def outcome(template):
    """The text a template makes, or None and the error."""
    try:
        return render_prompt(template, ROW), ""
    except UserError as error:
        return None, str(error)


@given(st.text(alphabet=string.printable, max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_renders_or_is_refused(template):
    """No text makes anything but a prompt or a user's error."""
    text, error = outcome(template)
    assert text is not None or "\n" not in error


NAMES = st.sampled_from(["input", "xs", "d", "n", "big", "gone", "nope", "1", "'a'", "[1]", "range(9)"])
EXPRESSIONS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "*", "~", "==", "in", "and", "**", "%"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(sorted(FILTERS))).map(lambda pair: f"({pair[0]})|{pair[1]}"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]})[{pair[1]}]"),
        st.tuples(inner, inner).map(lambda pair: f"[{pair[0]}, {pair[1]}]"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
@settings(max_examples=150, deadline=None)
def test_any_expression_renders_or_is_refused(expression):
    """No expression over any filter raises anything but a user's error, with a null, a missing name, or mixed types."""
    text, error = outcome("{{ " + expression + " }}")
    assert "\n" not in error if text is None else "Undefined" not in text


@given(st.text(max_size=200))
def test_plain_values_come_out_as_they_are(text):
    """A value is neither escaped nor changed."""
    assert render_prompt("{{ input }}", {"input": text}) == text
