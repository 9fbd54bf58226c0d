"""What holds for all tests: no property is judged by how busy the machine is or by which examples chance draws, and long
files begin first."""

import gc

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

LONG = (
    "suites/test_examples.py",
    "test_readme.py",
    "end_to_end/test_main_job.py",
    "end_to_end/",
    "harness/training/",
    "harness/models/",
    "harness/running/",
    "reports/",
    "test_",
)
"""Files that take minutes, the longest first: begun last, they would keep one worker busy while the others are done."""


@pytest.fixture(scope="session")
def libraries():
    """What trains is imported, and what it holds need not be looked through after every training: half a second each."""
    import harness.training.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_collection_modifyitems(items):
    """Files of LONG come first, all others after them in their own order."""

    def place(item):
        name = item.path.as_posix().rpartition("/tests/")[2]
        return next((i for i, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)
