"""A page against the store: made again from what is stored, and compared place by place.

A page is a function of the store and of its manifest, so whatever differs was changed afterwards, in the page or in the
store. Everything is compared: texts, attributes (also the coordinates of charts), the data behind the sample browser, and
last the whole file, so that nothing slips through between the places that have a name. The verdicts, which the store holds
as the gate gave them, are decided again from the scores.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.deciding.efforts import with_efforts
from harness.deciding.gate import decide
from harness.deciding.scores import Scores
from harness.deciding.sides import Side
from harness.errors import UserError
from harness.records import HUMAN, Run, Verdict
from harness.store import Store
from harness.suite.grammar import Gate
from reports.comparing import render_comparison
from reports.manifest import card_id, read_manifest
from reports.queries import load_report
from reports.render import render

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
AROUND = 30
"""Characters shown on either side of where two long texts part."""
DATA = {"application/json", "text/plain"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One place at which page and store disagree."""

    place: str
    shown: str
    recomputed: str

    def __str__(self) -> str:
        return f"{self.place}: shown {self.shown}, recomputed {self.recomputed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came out of it."""

    runs: tuple[str, ...]
    numbers: int
    """Numbers on the page and in its data, each of which was recomputed."""
    mismatches: tuple[Mismatch, ...]
    undecided: tuple[str, ...]
    """Candidates whose verdicts could not be decided again from the run's own scores, such as those against a blessed
    baseline: these are held against the stored verdict alone."""
    rated: bool
    """Whether people rated answers of a run: ratings brought in after the page was made change its figures."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A text or an attribute of the page, or a block of data."""

    kind: str
    """What it is in the page's structure: equal pages have equal kinds in equal order."""
    place: str
    value: str


def verify_report(store: Store, file: Path) -> Verification:
    """Makes a page again from the store and compares.

    Raises:
        UserError: If the file cannot be read, is no page of muster, or tells of a run that the store lacks.
    """
    try:
        shown = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}). Name a report that muster wrote.") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: is no report of muster (it is not UTF-8). Name one that muster wrote.") from None
    manifest = read_manifest(shown, file)
    recomputed = make_again(store, manifest).encode("utf-8", "replace").decode("utf-8")
    run = store.run(manifest["runs"][0]["id"])
    stored = store.verdicts(run.id) if manifest["page"] == "report" else []
    again = {verdict.candidate: verdict for verdict in decided_again(store, run, stored)}
    wrong = [
        m for verdict in stored if verdict.candidate in again for m in _redecided(verdict, again[verdict.candidate])
    ]
    return Verification(
        runs=tuple(run["id"] for run in manifest["runs"]),
        numbers=sum(_numbers(item) for item in _items(recomputed)),
        mismatches=(*mismatches(shown, recomputed), *wrong),
        undecided=tuple(verdict.candidate for verdict in stored if verdict.candidate not in again),
        rated=any(m.name.startswith(HUMAN) for each in manifest["runs"] for m in store.run(each["id"]).metrics),
    )


def decided_again(store: Store, run: Run, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of a run, decided again from its scores by the gate in its record.

    Left out are those against a baseline that is none of the run's candidates, and all where the record holds no gate that
    this version can decide by.
    """
    suite = run.record.get("suite")
    rules = suite.get("gate") if isinstance(suite, Mapping) else None
    within = [verdict for verdict in verdicts if verdict.baseline is None or verdict.baseline in run.candidates]
    try:
        gate = Gate.model_validate(rules)
        scores = Scores.from_rows(store.scores(run.id), store.modes(run.id))
        scores = with_efforts(scores, store, run, gate, candidates=[verdict.candidate for verdict in within])
        return [
            decide(gate, run=run, scores=scores, candidate=verdict.candidate, baseline=verdict.baseline)
            for verdict in within
        ]
    except (ValidationError, UserError):
        return []


def _redecided(stored: Verdict, again: Verdict) -> Iterator[Mismatch]:
    """Where a stored verdict is not what the scores give: its outcome, and each number of its findings."""
    place = f"the stored verdict on {stored.candidate}"
    if stored.outcome != again.outcome:
        yield Mismatch(place=f"{place}, outcome", shown=stored.outcome, recomputed=again.outcome)
    if [finding.rule for finding in stored.findings] != [finding.rule for finding in again.findings]:
        ours, theirs = (", ".join(finding.rule for finding in one.findings) for one in (stored, again))
        yield Mismatch(place=f"{place}, rules", shown=_short(ours), recomputed=_short(theirs))
        return
    for one, other in zip(stored.findings, again.findings, strict=True):
        for name, value in asdict(one).items():
            # An earlier version may have said it in other words: of a sentence its numbers count.
            if name == "message" and NUMBER.findall(value) == NUMBER.findall(other.message):
                continue
            if value != getattr(other, name):
                where = f"{place}, rule '{one.rule}', {name}"
                yield Mismatch(place=where, shown=_short(value), recomputed=_short(getattr(other, name)))


def make_again(store: Store, manifest: Mapping[str, Any]) -> str:
    """The page that a manifest tells of, from the store as it is now.

    Raises:
        UserError: If the store lacks a run, or the manifest tells of no page that this version makes.
    """
    wanted = set(manifest["calibrations"])
    cards = [card for card in store.calibrations() if card_id(card) in wanted]
    options, made = manifest["options"], manifest["made"]
    budget = int(options["budget"])
    if manifest["page"] == "comparison":
        first, second = (
            Side(run=store.run(run), candidate=name) for run, name in (options["first"], options["second"])
        )
        return render_comparison(
            store, first, second, metrics=options["metrics"], cards=cards, budget=budget, made=made
        )
    blessed = {(run, candidate): name for run, candidate, name in options["blessed"]}
    report = load_report(store, [run["id"] for run in manifest["runs"]], cards=cards, blessed=blessed)
    if options["certificate"] is None:  # `muster gate aa` came after the page
        report = replace(report, certificate=None)
    return render(report, samples=options["samples"], budget=budget, made=made)


def mismatches(shown: str, recomputed: str) -> Iterator[Mismatch]:
    """Where two pages differ; nothing where they are equal but for how data blocks are compressed."""
    if shown == recomputed:
        return
    ours, theirs = _items(shown), _items(recomputed)
    found = False
    for ours_here, theirs_here in zip(ours, theirs, strict=False):
        if ours_here.kind != theirs_here.kind:
            found = True
            yield Mismatch(
                place=f"{theirs_here.place}; what follows cannot be compared",
                shown=f"{ours_here.kind} {_short(ours_here.value)}".strip(),
                recomputed=f"{theirs_here.kind} {_short(theirs_here.value)}".strip(),
            )
            return
        if ours_here.value != theirs_here.value:
            for mismatch in _differing(ours_here, theirs_here):
                found = True
                yield mismatch
    if len(ours) != len(theirs):
        yield Mismatch(place="the whole page", shown=f"{len(ours):,} texts", recomputed=f"{len(theirs):,}")
    elif not found:
        yield from _raw(shown, recomputed)


def _differing(shown: _Item, recomputed: _Item) -> Iterator[Mismatch]:
    """Where two values differ: data by its JSON, anything else as text."""
    if not shown.kind.startswith("data"):
        ours, theirs = _parting(shown.value, recomputed.value)
        yield Mismatch(place=recomputed.place, shown=ours, recomputed=theirs)
        return
    theirs = _unpack(recomputed.value)
    try:
        ours = _unpack(shown.value)
    except (ValueError, OSError, EOFError) as error:
        yield Mismatch(place=recomputed.place, shown=f"data that cannot be read ({error})", recomputed="the samples")
        return
    for path, one, other in _json_differences(ours, theirs, ""):
        yield Mismatch(place=f"{recomputed.place}{path}", shown=_short(one), recomputed=_short(other))


def _raw(shown: str, recomputed: str) -> Iterator[Mismatch]:
    """The first line that differs beside the data blocks: comments, white space, or how something is spelt."""
    ours, theirs = (_without_data(text).splitlines() for text in (shown, recomputed))
    if len(ours) != len(theirs):
        yield Mismatch(place="the whole file", shown=f"{len(ours):,} lines", recomputed=f"{len(theirs):,}")
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != other:
            first, second = _parting(one, other)
            yield Mismatch(place=f"line {number:,} of the file", shown=first, recomputed=second)
            return


# -------------------------------------------------------------------------------------------------------------- values


def _unpack(block: str) -> Any:
    """The JSON of a data block, which is plain, or gzipped and base64-coded."""
    text = block.strip()
    if text.startswith(("{", "[")):
        return json.loads(text)
    return json.loads(gzip.decompress(base64.b64decode(text, validate=True)))


def _json_differences(shown: Any, recomputed: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(shown, dict) and isinstance(recomputed, dict):
        for name in {**recomputed, **shown}:
            yield from _json_differences(shown.get(name), recomputed.get(name), f"{path}, {name}")
    elif isinstance(shown, list) and isinstance(recomputed, list) and len(shown) == len(recomputed):
        for number, (one, other) in enumerate(zip(shown, recomputed, strict=True)):
            here = other["id"] if isinstance(other, dict) and isinstance(other.get("id"), str) else number
            yield from _json_differences(one, other, f"{path}[{here}]")
    elif type(shown) is not type(recomputed) or shown != recomputed:
        yield path, shown, recomputed


def _numbers(item: _Item) -> int:
    if item.kind == "code":
        return 0
    if not item.kind.startswith("data"):
        return len(NUMBER.findall(item.value))
    return _count(_unpack(item.value))


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    if isinstance(value, list):
        return sum(map(_count, value))
    return int(isinstance(value, int | float) and not isinstance(value, bool))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 2 * AROUND else f"{text[: 2 * AROUND]}…"


def _parting(shown: str, recomputed: str) -> tuple[str, str]:
    """Two texts, or what stands around the place where they part."""
    if max(len(shown), len(recomputed)) <= 3 * AROUND:
        return shown, recomputed
    at = next((i for i, (a, b) in enumerate(zip(shown, recomputed, strict=False)) if a != b), 0)
    start = max(0, at - AROUND)
    before = "…" if start else ""
    ends = [
        f"{before}{text[start : at + AROUND]}{'…' if len(text) > at + AROUND else ''}" for text in (shown, recomputed)
    ]
    return ends[0], ends[1]


# -------------------------------------------------------------------------------------------------------------- places


def _items(page: str) -> list[_Item]:
    parser = _Places()
    parser.feed(page)
    parser.close()
    return parser.items


def _without_data(page: str) -> str:
    return re.sub(r'(<script type="text/plain" id="[\w-]+">)[^<]*', r"\1", page)


class _Places(HTMLParser):
    """Takes a page apart, remembering of each text the section, table, row and column it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[_Item] = []
        self._section = "head"
        self._heading = ""
        self._caption = ""
        self._columns: list[str] = []
        self._row = ""
        self._column = -1
        self._inside: str | None = None
        """The tag whose text names what follows: h3, caption, or th."""
        self._words: list[str] = []
        self._is_head = False
        self._code: tuple[str, str] | None = None
        """Type and id of the script or style element that is being read."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes where the parser is, and every attribute."""
        given = dict(attrs)
        if tag == "section" and given.get("id"):
            self._section, self._heading, self._caption, self._row = given["id"] or "", "", "", ""
        elif tag == "table":
            self._caption, self._columns, self._row = "", [], ""
        elif tag in ("thead", "tbody"):
            self._is_head = tag == "thead"
        elif tag == "tr":
            self._row, self._column = "", -1
        elif tag in ("td", "th"):
            self._column += 1
        if tag in ("h3", "caption", "th"):
            self._inside, self._words = tag, []
        if tag in ("script", "style"):
            self._code = (given.get("type") or "", given.get("id") or "")
        for name, value in attrs:
            self.items.append(_Item(f"<{tag} {name}>", f"{self._place()}, {name} of <{tag}>", value or ""))
        if not attrs:
            self.items.append(_Item(f"<{tag}>", self._place(), ""))

    def handle_endtag(self, tag: str) -> None:
        """Names what follows after what was just read."""
        if tag == self._inside:
            name = " ".join(" ".join(self._words).split())
            if tag == "h3":
                self._heading = name
            elif tag == "caption":
                self._caption = name
            elif self._is_head:
                self._columns.append(name)
            else:
                self._row = name
            self._inside = None
        if tag == "table":
            self._caption, self._columns, self._row, self._column = "", [], "", -1
        if tag in ("script", "style"):
            self._code = None
        self.items.append(_Item(f"</{tag}>", self._place(), ""))

    def handle_data(self, data: str) -> None:
        """Notes a text, or a block of data."""
        if self._code is not None:
            kind, name = self._code
            is_data = kind in DATA
            place = name if is_data else "the page's script or style"
            self.items.append(_Item(f"data {name}" if is_data else "code", place, data))
            return
        text = " ".join(data.split())
        if not text:
            return
        if self._inside:
            self._words.append(text)
        self.items.append(_Item("text", self._place(), text))

    def _place(self) -> str:
        parts = [self._section]
        if self._heading:
            parts.append(f"'{self._heading}'")
        if self._caption:
            parts.append(f"table '{self._caption}'")
        if self._row and not self._is_head:
            parts.append(f"row '{self._row}'")
        if self._caption and 0 <= self._column < len(self._columns):
            parts.append(f"column '{self._columns[self._column]}'")
        return ", ".join(parts)
