"""Inline SVG: intervals, rules against their threshold, histograms, win bars, curves over steps and over options.

Every function is pure, takes numbers and returns escaped markup. Colours are classes of report.css, so that light, dark
and print agree; nothing carries a style attribute, which the page's content security policy forbids. A chart that only
repeats numbers printed beside it is hidden from screen readers; the others carry their content as a label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]


def interval(
    mean: float | None,
    low: float | None,
    high: float | None,
    *,
    domain: Point,
    mark: float | None = None,
    tone: str = "",
    width: int = 132,
) -> Markup:
    """A dot with its interval on the axis `domain`; `mark` is a dashed vertical, such as the baseline or zero.

    Empty markup where there is no mean. `tone` is a class for the line: good, bad or nothing.
    """
    if mean is None:
        return Markup()
    height, middle = 16, 8
    at = _scale(domain, 4, width - 4)
    parts = [_tag("line", class_="axis", x1=2, x2=width - 2, y1=middle, y2=middle)]
    if mark is not None and domain[0] <= mark <= domain[1]:
        parts.append(_tag("line", class_="mark", x1=at(mark), x2=at(mark), y1=1, y2=height - 1))
    if low is not None or high is not None:
        left, right = at(domain[0] if low is None else low), at(domain[1] if high is None else high)
        parts.append(_tag("line", class_="whisker", x1=left, x2=right, y1=middle, y2=middle))
        ends = [x for x, value in ((left, low), (right, high)) if value is not None]
        parts += [_tag("line", class_="cap", x1=x, x2=x, y1=middle - 3.5, y2=middle + 3.5) for x in ends]
    parts.append(_tag("circle", class_="dot", cx=at(mean), cy=middle, r=3.5))
    return _svg(parts, width, height, f"interval {tone}".strip())


def histogram(counts: Sequence[int], *, label: str, width: int = 120, height: int = 34) -> Markup:
    """Bars of equal width, the highest as high as the chart."""
    top = max(counts, default=0) or 1
    step = width / max(1, len(counts))
    parts = [_tag("line", class_="axis", x1=0, x2=width, y1=height - 0.5, y2=height - 0.5)]
    for i, count in enumerate(counts):
        size = (height - 2) * count / top
        parts.append(_tag("rect", class_="bar", x=i * step + 0.5, y=height - 1 - size, width=step - 1, height=size))
    return _svg(parts, width, height, "histogram", label=label)


def win_bar(wins: int, ties: int, losses: int, *, width: int = 150, height: int = 12) -> Markup:
    """One bar in three parts: better, equal, worse. They differ in height as well as colour."""
    total = wins + ties + losses
    if not total:
        return Markup()
    parts, x = [], 0.0
    for name, count, tall in (("win", wins, height), ("tie", ties, height / 4), ("loss", losses, height / 2)):
        size = width * count / total
        if size:
            shape = {"x": x, "y": (height - tall) / 2, "width": max(0.5, size - 1), "height": tall}
            parts.append(_tag("rect", class_=name, **shape))
        x += size
    return _svg(parts, width, height, "winbar")


def curve(
    points: Sequence[Point],
    *,
    domain: Point,
    label: str,
    beside: Sequence[Point] = (),
    steps: Point | None = None,
    mark: float | None = None,
    width: int = 340,
    height: int = 170,
) -> Markup:
    """A line over steps, with axes: `points` are (step, value), `domain` is the range of the vertical axis.

    `beside` is a second line, dashed; `steps` the range of the horizontal axis where several charts share one; `mark` a
    step that a dashed vertical marks, such as the one that was kept. Empty markup where there is no line to draw.
    """
    if max(len(points), len(beside)) < 2:
        return Markup()
    left, right, top, bottom = 40, width - 16, 10, height - 24
    all_steps = [x for x, _ in (*points, *beside)]
    first, last = steps or (min(all_steps), max(all_steps))
    x_at, y_at = _scale((first, last), left, right), _scale(domain, bottom, top)
    parts = []
    for tick in ticks(*domain):
        y = y_at(tick)
        parts += [
            _tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y),
            _text(left - 6, y + 3.5, f"{tick:g}", "end"),
        ]
    for tick in ticks(first, last):
        parts.append(_text(x_at(tick), height - 8, f"{tick:g}", "middle"))
    if mark is not None:
        parts.append(_tag("line", class_="mark", x1=x_at(mark), x2=x_at(mark), y1=top, y2=bottom))
    for name, line in (("line", points), ("line beside", beside)):
        if line:
            path = " ".join(f"{'M' if i == 0 else 'L'}{x_at(x):.1f} {y_at(y):.1f}" for i, (x, y) in enumerate(line))
            parts.append(_tag("path", class_=name, d=path))
            parts.append(_tag("circle", class_="dot", cx=x_at(line[-1][0]), cy=y_at(line[-1][1]), r=3))
    parts += [_tag("circle", class_="kept", cx=x_at(x), cy=y_at(y), r=5) for x, y in (*points, *beside) if x == mark]
    return _svg(parts, width, height, "curve", label=label)


def steps_of_values(
    values: Sequence[str],
    lines: Sequence[Sequence[tuple[float, float | None, float | None] | None]],
    *,
    domain: Point,
    label: str,
    mark: float | None = None,
    width: int = 340,
    height: int = 170,
) -> Markup:
    """Means with intervals over the values of an option, evenly spaced: a line of (mean, low, high) for each of `lines`.

    None leaves a value of a line out; `mark` is a dashed horizontal, such as the baseline's mean. Lines stand a little apart
    and differ in their dashes.
    """
    left, right, top, bottom = 44, width - 16, 10, height - 24
    y_at = _scale(domain, bottom, top)
    room = (right - left) / max(1, len(values))
    parts = []
    for tick in ticks(*domain):
        y = y_at(tick)
        parts += [
            _tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y),
            _text(left - 6, y + 3.5, f"{tick:g}", "end"),
        ]
    if mark is not None:
        parts.append(_tag("line", class_="mark", x1=left, x2=right, y1=y_at(mark), y2=y_at(mark)))
    parts += [_text(left + room * (i + 0.5), height - 8, value, "middle") for i, value in enumerate(values)]
    for number, line in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * min(9.0, room / (len(lines) + 1))
        places = [(left + room * (i + 0.5) + shift, found) for i, found in enumerate(line) if found is not None]
        path = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y_at(f[0]):.1f}" for i, (x, f) in enumerate(places))
        parts.append(_tag("path", class_=f"line dash{number % 4}", d=path))
        for x, (mean, low, high) in places:
            if low is not None and high is not None:
                parts.append(_tag("line", class_="whisker", x1=x, x2=x, y1=y_at(low), y2=y_at(high)))
            parts.append(_tag("circle", class_="dot", cx=x, cy=y_at(mean), r=3.5))
    return _svg(parts, width, height, "curve", label=label)


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers within [low, high], spaced by 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def padded(values: Iterable[float], *, include: Iterable[float] = ()) -> Point:
    """The range of some values with a margin of 6 %, never empty."""
    known = [*values, *include]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = (high - low) * 0.06 or 0.05
    return low - margin, high + margin


def _scale(domain: Point, start: float, end: float) -> Callable[[float], float]:
    """A linear map from data to pixels, held inside the pixels."""
    low, high = domain

    def at(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + min(1.0, max(0.0, share)) * (end - start), 2)

    return at


def _tag(name: str, **attributes: object) -> Markup:
    pairs = [
        Markup('{}="{}"').format(
            key.rstrip("_"), f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
        )
        for key, value in attributes.items()
    ]
    return Markup("<{} {}/>").format(Markup(name), Markup(" ").join(pairs))


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(parts: Sequence[Markup], width: int, height: int, name: str, *, label: str = "") -> Markup:
    role = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" {}>').format(
        escape(name), width, height, width, height, role
    )
    return opening + Markup().join(parts) + Markup("</svg>")
