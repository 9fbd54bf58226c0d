"""Reads a dataset from the Hub through `datasets`; the only place that imports it. Never runs a dataset's own code."""

from __future__ import annotations

from harness.data.sources import Mistakes, Rows, checked_rows, table_rows, text_columns
from harness.errors import DataError


def read_hub(
    name: str, *, revision: str | None = None, config: str | None = None, split: str = "train", limit: int | None = None
) -> Rows:
    """The rows of one split of a Hub dataset, or its first `limit`. Columns of images or sounds are left out.

    Raises DataError in one line where the dataset cannot be had.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(name, config, revision=revision, split=split)
    except Exception as error:  # boundary: the library raises two dozen types, from the network, the files and itself
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{name}: cannot be loaded from the Hub ({type(error).__name__}: {reason}). "
            "Check name and revision, or download a file and name it under data.path."
        ) from None
    if limit is not None:
        dataset = dataset.select(range(min(limit, len(dataset))))
    table = dataset.with_format("arrow")[:]
    columns = text_columns(table.schema, name)
    mistakes = Mistakes()
    rows = checked_rows(name, columns, table_rows(table.select(columns).to_pylist()), mistakes)
    mistakes.raise_any()
    return rows
