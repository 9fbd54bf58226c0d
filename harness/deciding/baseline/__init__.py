"""Blessed baselines: a candidate's scores as a small file for git, that later runs are compared with, or refused to be."""

from __future__ import annotations

from harness.deciding.baseline.blessing import bless, figures_of, held_against_store
from harness.deciding.baseline.comparing import Against, blessed_baseline, refuse_drift, scores_against
from harness.deciding.baseline.drift import other_versions
from harness.deciding.baseline.files import find_baseline, read_baseline, write_baseline
from harness.deciding.baseline.measuring import measure
from harness.deciding.baseline.record import Baseline, Blessing, Measured, changes, short

__all__ = [
    "Against",
    "Baseline",
    "Blessing",
    "Measured",
    "bless",
    "blessed_baseline",
    "changes",
    "figures_of",
    "find_baseline",
    "held_against_store",
    "measure",
    "other_versions",
    "read_baseline",
    "refuse_drift",
    "scores_against",
    "short",
    "write_baseline",
]
