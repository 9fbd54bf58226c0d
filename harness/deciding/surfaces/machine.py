"""Verdicts for machines: verdict.json, and JUnit XML in the subset that Jenkins, GitLab and GitHub actions read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from harness.deciding.gate import worst_verdict
from harness.deciding.surfaces.text import headline, is_warning, plain, title
from harness.records import Finding, Verdict


def to_dict(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """One verdict as an object; several under `verdicts`, beside the outcome and exit status of the worst.

    Raises:
        ValueError: If there are none.
    """
    if not verdicts:
        raise ValueError("'verdicts' must hold at least one (got none). Nothing evaluated is an error of its own.")
    if len(verdicts) == 1:
        return _verdict(verdicts[0])
    worst = worst_verdict(verdicts)
    return {
        "outcome": worst.outcome,
        "exit_status": worst.exit_status,
        "verdicts": [_verdict(verdict) for verdict in verdicts],
    }


def to_json(verdicts: Sequence[Verdict]) -> str:
    """`to_dict` as text in ASCII, ending in a newline."""
    return json.dumps(to_dict(verdicts), indent=2, allow_nan=False) + "\n"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "exit_status": verdict.exit_status,
        "suite": verdict.suite,
        "suite_sha": verdict.suite_sha,
        "run": verdict.run,
        "candidate": verdict.candidate,
        "baseline": verdict.baseline,
        "confidence": verdict.confidence,
        "rules_sha": verdict.rules_sha,
        "changed": list(verdict.changed),
        "findings": [asdict(finding) for finding in verdict.findings],
    }


def to_junit(verdicts: Sequence[Verdict]) -> str:
    """A test suite for each candidate, a test case for each rule.

    A failed rule is a failure, an incomplete one an error; an inconclusive one is a failure of type `inconclusive`,
    or skipped where the verdict is a warning. Names of test cases are unique, since GitLab keeps only the first of
    each.
    """
    suites = [_suite(verdict) for verdict in verdicts]
    root = ElementTree.Element("testsuites", _totals(suites))
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(verdict: Verdict) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": plain(f"{verdict.suite}.{verdict.candidate}")})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("verdict", headline(verdict)),
        ("run", verdict.run),
        ("baseline", verdict.baseline or ""),
        ("confidence", f"{verdict.confidence:g}"),
        ("suite_sha", verdict.suite_sha),
        ("rules_sha", verdict.rules_sha),
        ("changed", "; ".join(verdict.changed)),
    ):
        ElementTree.SubElement(properties, "property", {"name": name, "value": plain(value)})
    seen: dict[str, int] = {}
    for finding in verdict.findings:
        name = plain(f"{title(finding)} on {finding.split}")
        seen[name] = seen.get(name, 0) + 1
        suite.append(_case(verdict, finding, name if seen[name] == 1 else f"{name} ({seen[name]})"))
    suite.attrib.update(_counts(suite))
    return suite


def _case(verdict: Verdict, finding: Finding, name: str) -> ElementTree.Element:
    owner = plain(f"{verdict.suite}.{verdict.candidate}")
    case = ElementTree.Element("testcase", {"classname": owner, "name": name, "time": "0"})
    message = plain(finding.message)
    match finding.outcome:
        case "pass":
            ElementTree.SubElement(case, "system-out").text = message
        case "fail":
            ElementTree.SubElement(case, "failure", {"type": "fail", "message": message}).text = message
        case "incomplete":
            ElementTree.SubElement(case, "error", {"type": "incomplete", "message": message}).text = message
        case "inconclusive" if is_warning(verdict):
            ElementTree.SubElement(case, "skipped", {"message": f"inconclusive: {message}"})
        case "inconclusive":
            ElementTree.SubElement(case, "failure", {"type": "inconclusive", "message": message}).text = message
    return case


def _counts(suite: ElementTree.Element) -> dict[str, str]:
    return {
        "tests": str(len(suite.findall("testcase"))),
        "failures": str(len(suite.findall("testcase/failure"))),
        "errors": str(len(suite.findall("testcase/error"))),
        "skipped": str(len(suite.findall("testcase/skipped"))),
        "time": "0",
    }


def _totals(suites: Sequence[ElementTree.Element]) -> dict[str, str]:
    """The root's counts; how many were skipped is no attribute it may have (Jenkins' junit-10.xsd)."""
    names = ("tests", "failures", "errors", "time")
    return {"name": "muster"} | {name: str(sum(int(suite.attrib[name]) for suite in suites)) for name in names}
