"""The charts' geometry and markup."""

from __future__ import annotations

import lxml.html
import pytest

from reports import charts


def test_interval_places_mean_and_ends_on_the_axis():
    """The middle of the domain is the middle of the picture, and the whisker spans low to high."""
    svg = lxml.html.fromstring(charts.interval(0.5, 0.25, 0.75, domain=(0.0, 1.0), width=108))
    whisker = next(line for line in svg.findall("line") if line.get("class") == "whisker")
    assert float(svg.find("circle").get("cx")) == 54
    assert (float(whisker.get("x1")), float(whisker.get("x2"))) == (29, 79)


def test_one_sided_interval_is_open_at_the_unknown_end():
    """A bound that is not known has no cap, and the line runs to the edge."""
    svg = lxml.html.fromstring(charts.interval(0.5, 0.25, None, domain=(0.0, 1.0), width=108))
    assert sum(line.get("class") == "cap" for line in svg.findall("line")) == 1
    whisker = next(line for line in svg.findall("line") if line.get("class") == "whisker")
    assert float(whisker.get("x2")) == 104


def test_no_mean_draws_nothing():
    """Where there is no estimate there is no picture of one."""
    assert charts.interval(None, None, None, domain=(0.0, 1.0)) == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1.1, 5.3, [2.0, 3.0, 4.0, 5.0]),
        (10.0, 600.0, [200.0, 400.0, 600.0]),
        (0.02, 0.041, [0.02, 0.025, 0.03, 0.035, 0.04]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    """Ticks are multiples of 1, 2 or 5 times a power of ten within the range."""
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_bars_of_a_win_bar_add_up():
    """The three parts are as wide as their shares, less the gap between them."""
    svg = lxml.html.fromstring(charts.win_bar(30, 50, 20, width=100))
    widths = [float(rect.get("width")) for rect in svg.findall("rect")]
    assert widths == [29, 49, 19]
    assert charts.win_bar(0, 0, 0) == ""


def test_labels_are_escaped():
    """A label is text: it cannot end the attribute it stands in."""
    svg = lxml.html.fromstring(charts.histogram([1, 2], label='"><script>alert(1)</script>'))
    assert svg.get("aria-label") == '"><script>alert(1)</script>'
    assert not svg.xpath("//script")


def test_highest_bar_fills_the_chart():
    """Bars are scaled to the highest; empty bins have no height."""
    svg = lxml.html.fromstring(charts.histogram([0, 3, 6], label="x", width=30, height=34))
    assert [float(rect.get("height")) for rect in svg.findall("rect")] == [0, 16, 32]


def test_a_curve_marks_a_step_on_every_line():
    """The kept step is a vertical, and circles the points of both lines that have it."""
    drawn = charts.curve(
        [(0, 1.0), (10, 0.5)],
        beside=[(5, 1.0), (10, 0.8)],
        mark=10,
        domain=(0.0, 1.0),
        label="x",
        width=156,
        height=134,
    )
    svg = lxml.html.fromstring(drawn)
    assert [path.get("class") for path in svg.findall("path")] == ["line", "line beside"]
    mark = next(line for line in svg.findall("line") if line.get("class") == "mark")
    assert float(mark.get("x1")) == float(mark.get("x2")) == 140
    kept = [(float(c.get("cx")), float(c.get("cy"))) for c in svg.findall("circle") if c.get("class") == "kept"]
    assert kept == [(140, 60), (140, 30)]
    assert charts.curve([(0, 1.0)], domain=(0.0, 1.0), label="x") == ""


def test_values_of_an_option_are_evenly_spaced_with_their_intervals():
    """Means lie on the axis, whiskers span their intervals, a missing candidate leaves a gap, the baseline is a horizontal."""
    drawn = charts.steps_of_values(
        ["4", "16"], [[(0.5, 0.25, 0.75), None]], domain=(0.0, 1.0), mark=1.0, label="x", width=160, height=134
    )
    svg = lxml.html.fromstring(drawn)
    (dot,) = svg.findall("circle")
    assert (float(dot.get("cx")), float(dot.get("cy"))) == (69, 60)
    (whisker,) = (line for line in svg.findall("line") if line.get("class") == "whisker")
    assert (float(whisker.get("y1")), float(whisker.get("y2"))) == (85, 35)
    (mark,) = (line for line in svg.findall("line") if line.get("class") == "mark")
    assert float(mark.get("y1")) == float(mark.get("y2")) == 10
    assert [t.text for t in svg.findall("text")[-2:]] == ["4", "16"]


def test_a_trade_off_places_names_and_front():
    """The dearest stands right, the best on top; only the front is joined and filled; no two names overlap."""
    points = [("a", 1.0, 0.2, None, None), ("b", 4.0, 0.8, 0.7, 0.9), ("c", 4.0, 0.79, None, None)]
    svg = lxml.html.fromstring(charts.trade_off(points, ["a", "b"], domain=(0.0, 1.0), way="seconds", label="x"))
    a, b, c = svg.findall("circle")
    assert float(a.get("cx")) < float(b.get("cx")) == float(c.get("cx"))
    assert float(a.get("cy")) > float(c.get("cy")) > float(b.get("cy"))
    assert [circle.get("class") for circle in (a, b, c)] == ["dot", "dot", "dot open"]
    assert svg.find("path").get("d").count(" L") == 1
    heights = sorted(float(t.get("y")) for t in svg.findall("text") if t.text in {"b", "c"})
    assert heights[1] - heights[0] >= charts.LINE - 1


def test_a_reliability_diagram_is_square_with_its_diagonal():
    """A perfect bin lies on the diagonal, and the dot with most answers is the largest."""
    svg = lxml.html.fromstring(charts.reliability([(0.2, 0.2, None, None, 5), (0.9, 0.5, 0.4, 0.6, 50)], label="x"))
    (line,) = [one for one in svg.findall("line") if one.get("class") == "mark"]
    (x1, y1), (x2, y2) = ((float(line.get(f"x{i}")), float(line.get(f"y{i}"))) for i in (1, 2))
    small, large = svg.findall("circle")
    share = (float(small.get("cx")) - x1) / (x2 - x1)
    assert float(small.get("cy")) == pytest.approx(y1 + share * (y2 - y1), abs=0.1)
    assert share == pytest.approx(0.2, abs=0.001)
    assert float(large.get("r")) > float(small.get("r"))


def test_a_line_over_runs_leaves_out_what_is_missing():
    """A run without the candidate has no mark; a blessed one has a diamond; names at the end stand apart."""
    lines = [
        ("a", [(0.5, 0.4, 0.6, True), None, (0.5, None, None, False)]),
        ("b", [None, None, (0.5, 0.4, 0.6, False)]),
    ]
    svg = lxml.html.fromstring(charts.over_runs(["1", "2", "3"], lines, domain=(0.0, 1.0), label="x"))
    assert len(svg.findall("circle")) == 2
    assert sum(path.get("class") == "blessed" for path in svg.findall("path")) == 1
    assert sum(line.get("class") == "whisker" for line in svg.findall("line")) == 2
    heights = [float(t.get("y")) for t in svg.findall("text") if t.get("text-anchor") == "start"]
    assert abs(heights[0] - heights[1]) >= charts.LINE


def test_small_numbers_have_room_beside_the_axis():
    """The labels of a learning rate stand inside the picture, left of the axis."""
    svg = lxml.html.fromstring(charts.curve([(1, 1e-5), (9, 4.5e-5)], domain=(1e-5, 5e-5), label="x"))
    widest = max((t for t in svg.findall("text") if t.get("text-anchor") == "end"), key=lambda t: len(t.text))
    assert float(widest.get("x")) >= 6 * len(widest.text)
