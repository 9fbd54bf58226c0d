"""Data: files and Hub datasets become samples in splits, and training rows are compared with evaluation rows."""

from harness.data.contamination import Overlap, OverlapCount, check_contamination, count_overlaps, find_overlaps
from harness.data.dataset import Dataset, load_dataset
from harness.data.preferences import preference_line, read_preferences

__all__ = [
    "Dataset",
    "Overlap",
    "OverlapCount",
    "check_contamination",
    "count_overlaps",
    "find_overlaps",
    "load_dataset",
    "preference_line",
    "read_preferences",
]
