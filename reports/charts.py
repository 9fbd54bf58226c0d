"""Inline SVG: intervals, rules against their threshold, histograms, win bars and loss curves.

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


def curve(points: Sequence[Point], *, domain: Point, label: str, width: int = 340, height: int = 170) -> Markup:
    """A line over steps, with axes: `points` are (step, loss), `domain` is the range of the vertical axis."""
    if len(points) < 2:
        return Markup()
    left, right, top, bottom = 40, width - 16, 10, height - 24
    first, last = points[0][0], points[-1][0]
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
    path = " ".join(f"{'M' if i == 0 else 'L'}{x_at(x):.1f} {y_at(y):.1f}" for i, (x, y) in enumerate(points))
    parts.append(_tag("path", class_="line", d=path))
    parts.append(_tag("circle", class_="dot", cx=x_at(last), cy=y_at(points[-1][1]), r=3))
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
