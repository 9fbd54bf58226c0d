"""Inline SVG: intervals, histograms, win bars, curves over steps, options and runs, trade-offs, reliability diagrams.

Every function is pure, takes numbers and returns escaped markup. Colours are classes of report.css, so that light, dark
and print agree; nothing carries a style attribute, which the page's content security policy forbids. A chart that only
repeats numbers printed beside it is hidden from screen readers; the others carry their content as a label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]
LINE = 13.0
"""Pixels from one line of small text to the next."""


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
    left, right, top, bottom = _margin(domain), width - 16, 10, height - 24
    all_steps = [x for x, _ in (*points, *beside)]
    first, last = steps or (min(all_steps), max(all_steps))
    x_at, y_at = _scale((first, last), left, right), _scale(domain, bottom, top)
    parts = _grid(domain, left, right, y_at)
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
    left, right, top, bottom = _margin(domain), width - 16, 10, height - 24
    y_at = _scale(domain, bottom, top)
    room = (right - left) / max(1, len(values))
    parts = _grid(domain, left, right, y_at)
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


def over_runs(
    labels: Sequence[str],
    lines: Sequence[tuple[str, Sequence[tuple[float, float | None, float | None, bool] | None]]],
    *,
    domain: Point,
    label: str,
    width: int = 560,
    height: int = 230,
) -> Markup:
    """Means with intervals over runs, evenly spaced: for each line its name and a (mean, low, high, blessed) or None a run.

    A blessed run has a diamond instead of a dot. Each line is named at its right end, and lines differ in their dashes.
    """
    room_for_names = 10 + 6.4 * max((len(name) for name, _ in lines), default=0)
    left, right, top, bottom = _margin(domain), width - min(room_for_names, width / 3), 12, height - 24
    y_at = _scale(domain, bottom, top)
    room = (right - left) / max(1, len(labels))
    parts = _grid(domain, left, right, y_at)
    every = max(1, math.ceil(len(labels) * 74 / (right - left)))
    for i, text in enumerate(labels):
        if (len(labels) - 1 - i) % every == 0:
            parts.append(_text(left + room * (i + 0.5), height - 8, text, "middle"))
    ends = []
    for number, (name, line) in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * min(7.0, room / (len(lines) + 1))
        places = [(left + room * (i + 0.5) + shift, found) for i, found in enumerate(line) if found is not None]
        if not places:
            continue
        path = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y_at(f[0]):.1f}" for i, (x, f) in enumerate(places))
        parts.append(_tag("path", class_=f"line dash{number % 4}", d=path))
        for x, (mean, low, high, blessed) in places:
            y = y_at(mean)
            if low is not None and high is not None:
                parts.append(_tag("line", class_="whisker", x1=x, x2=x, y1=y_at(low), y2=y_at(high)))
            if blessed:
                shape = f"M{x:.1f} {y - 7:.1f} L{x + 7:.1f} {y:.1f} L{x:.1f} {y + 7:.1f} L{x - 7:.1f} {y:.1f} Z"
                parts.append(_tag("path", class_="blessed", d=shape))
            else:
                parts.append(_tag("circle", class_="dot", cx=x, cy=y, r=3.5))
        ends.append((y_at(places[-1][1][0]), name))
    for y, name in _apart(ends, top, bottom):
        parts.append(_text(right + 6, y + 3.5, name, "start"))
    return _svg(parts, width, height, "curve", label=label)


def trade_off(
    points: Sequence[tuple[str, float, float, float | None, float | None]],
    front: Sequence[str],
    *,
    domain: Point,
    way: str,
    label: str,
    width: int = 560,
    height: int = 300,
) -> Markup:
    """Candidates as (name, what it takes, quality, low, high), the ones of the Pareto front joined by a line.

    `domain` is the range of the quality, `way` names the horizontal axis, which starts at zero.
    """
    left, right, top, bottom = _margin(domain), width - 20, 14, height - 40
    most = max((x for _, x, _, _, _ in points), default=1.0) or 1.0
    x_at, y_at = _scale((0.0, most * 1.18), left, right), _scale(domain, bottom, top)
    parts = _grid(domain, left, right, y_at)
    parts.append(_tag("line", class_="axis", x1=left, x2=right, y1=bottom, y2=bottom))
    for tick in ticks(0.0, most * 1.1):
        parts.append(_text(x_at(tick), bottom + 15, f"{tick:g}", "middle"))
    parts.append(_text((left + right) / 2, height - 6, way, "middle"))
    best = sorted((x, y) for name, x, y, _, _ in points if name in front)
    if len(best) > 1:
        path = " ".join(f"{'M' if i == 0 else 'L'}{x_at(x):.1f} {y_at(y):.1f}" for i, (x, y) in enumerate(best))
        parts.append(_tag("path", class_="line dash1", d=path))
    names = []
    for name, x, y, low, high in points:
        across, up = x_at(x), y_at(y)
        if low is not None and high is not None:
            parts.append(_tag("line", class_="whisker", x1=across, x2=across, y1=y_at(low), y2=y_at(high)))
        parts.append(_tag("circle", class_="dot" if name in front else "dot open", cx=across, cy=up, r=5))
        names.append((up, across, name))
    for up, across, name in _clear(names, top, bottom):
        is_right = across + 10 + 6.4 * len(name) < width
        parts.append(_text(across + (9 if is_right else -9), up + 3.5, name, "start" if is_right else "end"))
    return _svg(parts, width, height, "curve", label=label)


def reliability(
    bins: Sequence[tuple[float, float, float | None, float | None, int]],
    *,
    label: str,
    size: int = 230,
) -> Markup:
    """Observed share against mean score of each bin, as (mean score, share, low, high, n), on the unit square.

    The dashed diagonal is a score that can be read as a probability; the area of a dot grows with its n.
    """
    left, right, top, bottom = 34, size - 10, 10, size - 26
    x_at, y_at = _scale((0.0, 1.0), left, right), _scale((0.0, 1.0), bottom, top)
    parts = _grid((0.0, 1.0), left, right, y_at)
    parts += [_text(x_at(tick), size - 10, f"{tick:g}", "middle") for tick in ticks(0.0, 1.0)]
    parts.append(_tag("line", class_="mark", x1=x_at(0), y1=y_at(0), x2=x_at(1), y2=y_at(1)))
    largest = max((n for *_, n in bins), default=1) or 1
    for score, share, low, high, n in bins:
        x = x_at(score)
        if low is not None and high is not None:
            parts.append(_tag("line", class_="whisker", x1=x, x2=x, y1=y_at(low), y2=y_at(high)))
        parts.append(_tag("circle", class_="dot", cx=x, cy=y_at(share), r=2.5 + 4.5 * math.sqrt(n / largest)))
    return _svg(parts, size, size, "curve square", label=label)


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


def _margin(domain: Point) -> float:
    """Pixels left of the vertical axis, enough for its numbers."""
    return max(44.0, 14 + 6.4 * max(len(f"{tick:g}") for tick in ticks(*domain)))


def _grid(domain: Point, left: float, right: float, y_at: Callable[[float], float]) -> list[Markup]:
    """Horizontal lines at round numbers, each with its number."""
    parts = []
    for tick in ticks(*domain):
        y = y_at(tick)
        parts += [
            _tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y),
            _text(left - 6, y + 3.5, f"{tick:g}", "end"),
        ]
    return parts


def _apart(labels: Sequence[tuple[float, str]], top: float, bottom: float) -> list[tuple[float, str]]:
    """Labels at heights that are at least a line apart, in their order, as near to where they belong as may be."""
    found: list[tuple[float, str]] = []
    for y, name in sorted(labels):
        found.append((max(y, found[-1][0] + LINE) if found else y, name))
    over = found[-1][0] - bottom if found else 0.0
    if over > 0:
        found = [(max(top, y - over), name) for y, name in found]
    return found


def _clear(names: Sequence[tuple[float, float, str]], top: float, bottom: float) -> list[tuple[float, float, str]]:
    """Names as (y, x, name), moved down where one would be written over another."""
    found: list[tuple[float, float, str]] = []
    for y, x, name in sorted(names):
        at = y
        for other, across, text in found:
            near = abs(across - x) < 6.4 * max(len(text), len(name)) + 10
            if near and abs(other - at) < LINE:
                at = other + LINE
        found.append((min(max(at, top), bottom), x, name))
    return found


def _scale(domain: Point, start: float, end: float) -> Callable[[float], float]:
    """A linear map from data to pixels, held inside the pixels."""
    low, high = domain

    def at(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(start + min(1.0, max(0.0, share)) * (end - start), 2)

    return at


def _tag(name: str, **attributes: object) -> Markup:
    """An element without content; its attributes' values are escaped. Names are of this file (`Markup.format` is slow)."""
    pairs = (
        f'{key.rstrip("_")}="{f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name} {' '.join(pairs)}/>")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(parts: Sequence[Markup], width: int, height: int, name: str, *, label: str = "") -> Markup:
    role = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" {}>').format(
        escape(name), width, height, width, height, role
    )
    return opening + Markup().join(parts) + Markup("</svg>")
