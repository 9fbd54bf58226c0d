"""Gates as tests, for those who live in pytest: the fixture `muster` and the marker `muster_gate`.

    def test_the_assistant_may_ship(muster):
        muster.assert_gate("evals/suite.yaml", candidate="assistant", baseline="production")

Decides about a stored run and loads no model; the failure's message is the findings' sentences. Loaded by pytest in every
project of the environment, so nothing but pytest is imported here until a gate is asked for.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records import Verdict

MARKER = "muster_gate"
Inconclusive = Literal["fail", "skip", "warn"]


class InconclusiveWarning(UserWarning):
    """A gate could not tell, and was asked to pass all the same."""


class Muster:
    """What the fixture `muster` is.

    Args:
        root: The folder that suites and homes are looked for in.
        inconclusive: What a gate that cannot tell does to its test, unless the call says otherwise.
    """

    def __init__(self, root: Path, inconclusive: Inconclusive) -> None:
        self._root = root
        self._inconclusive = inconclusive

    def assert_gate(
        self,
        suite: str | Path,
        *,
        candidate: str | Sequence[str] | None = None,
        baseline: str | None = None,
        run: str = "latest",
        home: str | Path = ".muster",
        data: str | Path | None = None,
        inconclusive: Inconclusive | None = None,
    ) -> list[Verdict]:
        """Fails the test unless the gate of the suite passes, as `muster gate` would decide; returns the verdicts.

        Args:
            suite: A suite file, from pytest's root folder, or the name of a built-in suite.
            candidate: Which candidate, or candidates; left out, all but the baseline.
            baseline: As `muster gate --baseline`.
            run: An id, its first letters, or `latest`.
            home: Where the run is stored, from pytest's root folder.
            data: The file the run read with --data, if it did.
            inconclusive: `fail`, `skip` or `warn` where nothing could be shown.
        """
        __tracebackhide__ = True
        from harness.cli.gate import decide_stored, gated_suite
        from harness.deciding.gate import worst_verdict
        from harness.errors import MusterError

        names = [candidate] if isinstance(candidate, str) else list(candidate) if candidate is not None else None
        try:
            loaded, rules = gated_suite(self._found(suite), self._root / data if data is not None else None)
            verdicts = decide_stored(
                loaded, rules, home=self._root / home, candidates=names, baseline=baseline, run=run
            ).verdicts
        except MusterError as error:
            pytest.fail(f"muster: {error}", pytrace=False)
        worst = worst_verdict(verdicts)
        if worst.outcome == "inconclusive" and (inconclusive or self._inconclusive) == "skip":
            pytest.skip(told(verdicts))
        if worst.outcome == "inconclusive" and (inconclusive or self._inconclusive) == "warn":
            warnings.warn(told(verdicts), InconclusiveWarning, stacklevel=2)
        elif worst.outcome != "pass":
            pytest.fail(told(verdicts), pytrace=False)
        return verdicts

    def _found(self, suite: str | Path) -> str:
        file = self._root / suite
        return str(file) if file.is_file() else str(suite)


def told(verdicts: Sequence[Verdict]) -> str:
    """The outcome of each verdict, and the sentence of each finding that did not pass."""
    from harness.deciding.surfaces.text import headline, plain, subject

    lines = []
    for verdict in verdicts:
        lines.append(f"{headline(verdict)}  {plain(subject(verdict))}, suite {plain(verdict.suite)}, run {verdict.run}")
        lines += [f"  {f.outcome.upper()}  {plain(f.message)}" for f in verdict.findings if f.outcome != "pass"]
    return "\n".join(lines)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--muster-inconclusive`."""
    parser.getgroup("muster").addoption(
        "--muster-inconclusive", choices=("fail", "skip", "warn"), default="fail",
        help="what a muster gate that cannot tell does to its test (default: fail)",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}(suite, **options): run the test only once muster.assert_gate(suite, **options) passes"
    )


@pytest.fixture
def muster(request: pytest.FixtureRequest) -> Muster:
    """Gates of muster: `muster.assert_gate(suite, candidate=…, baseline=…, run=…, home=…)`."""
    return _muster(request.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Decides each gate that the test is marked with, before its own lines run."""
    for mark in item.iter_markers(MARKER):
        _muster(item.config).assert_gate(*mark.args, **mark.kwargs)


def _muster(config: pytest.Config) -> Muster:
    return Muster(config.rootpath, config.getoption("--muster-inconclusive"))
