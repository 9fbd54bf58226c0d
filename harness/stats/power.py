"""How many samples a decision needs, and what a given number can detect. Normal approximations throughout.

`spread` is the standard deviation of one item (of one difference, where two candidates are compared); a clustered
interval's `spread` has the clustering in it.
"""

from __future__ import annotations

import math

from harness.stats.intervals import z_quantile

POWER = 0.8
"""Chance of a decision, unless said otherwise."""


def samples_needed(distance: float, spread: float, confidence: float, *, power: float = POWER) -> int | None:
    """Samples from which a one-sided bound clears a limit `distance` away from the truth with chance `power`.

    n = (z_confidence + z_power)^2 spread^2 / distance^2. Discordance 0.10, margin 0.01 gives 6,183; 0.20 and 0.03,
    1,374. None where the distance is zero: then no number is enough.

    Args:
        distance: From the true mean to the limit, in the metric's units.
        spread: Standard deviation of one item.
        confidence: One-sided.
        power: Chance that the bound clears the limit.
    """
    if distance == 0:
        return None
    return max(1, math.ceil(((z_quantile(confidence) + z_quantile(power)) * spread / distance) ** 2))


def detectable_effect(n: int, spread: float, confidence: float, *, power: float = POWER) -> float:
    """The smallest distance from a limit at which n samples clear it with chance `power`; `confidence` is one-sided.

    500 samples at discordance 0.10 and 0.975: 0.040 (the two-sided test at 0.95).
    """
    return (z_quantile(confidence) + z_quantile(power)) * spread / math.sqrt(n)


def samples_without_events(limit: float, confidence: float) -> int | None:
    """Samples, none with an event, that show a rate below `limit`: the zero-event bound solved for n.

    At most 5 % at 0.95: 59. None where the limit is 0, which no number shows.
    """
    if limit <= 0:
        return None
    if limit >= 1:
        return 1
    return math.ceil(math.log(1 - confidence) / math.log1p(-limit))


def binary_spread(discordance: float) -> float:
    """Standard deviation of the difference of two 0/1 scores that differ with this chance and have equal means."""
    return math.sqrt(discordance)
