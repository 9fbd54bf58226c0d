"""The pages' colours: readable in light and dark, as WCAG 2.2 AA asks."""

from __future__ import annotations

import re
from importlib import resources

import pytest

CSS = resources.files("reports").joinpath("static", "base.css").read_text(encoding="utf-8")
PAIRS = [
    (ink, paper)
    for ink in ("ink", "muted", "accent", "good", "bad", "warn", "idle")
    for paper in ("bg", "paper", "raised")
] + [
    ("good", "good-soft"),
    ("bad", "bad-soft"),
    ("warn", "warn-soft"),
    ("idle", "idle-soft"),
    ("accent", "accent-soft"),
    ("on-accent", "accent"),
]
PLOTS = [(ink, "paper") for ink in ("plot", "good", "bad", "muted")]


def themes():
    """The colour variables of the light and the dark theme."""
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.S)[:2]
    return dict(
        zip(
            ("light", "dark"),
            [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks],
            strict=True,
        )
    )


def luminance(colour):
    """Relative luminance of a #rrggbb colour, after WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Contrast ratio of two colours, 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_formula_has_its_known_ends():
    """Black on white is 21, a colour on itself 1, and the grey #767676 on white just passes AA."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS, ids="-on-".join)
def test_text_is_readable(theme, ink, paper):
    """Every text colour has a contrast of at least 4.5 on every ground it stands on."""
    colours = themes()[theme]
    assert contrast(colours[ink], colours[paper]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PLOTS, ids="-on-".join)
def test_charts_are_visible(theme, ink, paper):
    """Marks that carry meaning have a contrast of at least 3 with their ground."""
    colours = themes()[theme]
    assert contrast(colours[ink], colours[paper]) >= 3
