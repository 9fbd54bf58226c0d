"""What every test of the store starts from."""

from __future__ import annotations

import pytest

from harness.store import Home


@pytest.fixture
def home(tmp_path):
    """An empty home."""
    return Home(tmp_path / ".muster")
