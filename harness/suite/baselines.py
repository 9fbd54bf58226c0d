"""Where blessed baselines lie: `baselines/NAME.json` beside the suite. What is in them is `harness.deciding.baseline`'s."""

from __future__ import annotations

from pathlib import Path

from harness.suite.grammar import NAME

FOLDER = "baselines"


def baseline_file(root: Path, name: str) -> Path:
    """Where the baseline of a name lies, below the suite's folder; `name` fulfils the grammar's NAME."""
    return root / FOLDER / f"{name}.json"


def blessed_names(root: Path) -> list[str]:
    """Names of the baselines beside a suite, sorted; what is in their files is not looked at."""
    return sorted(file.stem for file in (root / FOLDER).glob("*.json") if NAME.match(file.stem))
