"""Training rows that stand in an evaluation split too: the same text, the same words, or nearly the same.

Three kinds, the strongest one of a pair counts: `exact` (the same input), `normalised` (the same after Unicode NFKC,
case folding and removal of punctuation and extra space) and `near` (Jaccard similarity of the sets of word 3-grams at
least a threshold; where one of the two has fewer than three words, of the sets of words). The search is exact, not
MinHash: every pair at or above the threshold is found. It is a set-similarity join with prefix filtering (Chaudhuri,
Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): two sets as similar as that share one of their rarest members, so
only pairs that do are compared. Only the evaluation split is held in memory as sets. For a conversation the text is all
turns of user and assistant before the answer; of a training conversation every turn of the assistant is learnt, so each
is compared with what stands before it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.data.dataset import Dataset
from harness.data.samples import every_turn
from harness.errors import ContaminationError
from harness.records import Preference, Sample
from harness.suite.grammar import Suite

Kind = Literal["exact", "normalised", "near"]
KINDS: tuple[Kind, ...] = ("exact", "normalised", "near")
GRAM = 3
SHOWN_PAIRS = 10
MOST_PER_ROW = 10
"""Training rows listed for one evaluation row: a text that stands 1,000 times on both sides makes a million pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A training row and an evaluation row that ask the same. Row numbers are those of the data files, from 1."""

    kind: Kind
    training_split: str
    training_row: int
    evaluation_split: str
    evaluation_row: int
    similarity: float
    """Jaccard similarity; 1 for exact and normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapCount:
    """Evaluation rows of one split that stand in one training split too, each counted under its strongest kind."""

    training_split: str
    evaluation_split: str
    exact: int
    normalised: int
    near: int
    rows: int
    """All rows of the evaluation split."""

    @property
    def hit(self) -> int:
        """Evaluation rows with any overlap."""
        return self.exact + self.normalised + self.near

    @property
    def share(self) -> float:
        """Share of the evaluation split's rows with any overlap, in [0, 1]."""
        return self.hit / self.rows


def find_overlaps(
    training: Sequence[Sample], evaluation: Sequence[Sample], *, near: float, most: int = MOST_PER_ROW
) -> list[Overlap]:
    """Every evaluation row with a training row that overlaps it; with each, its `most` strongest training rows.

    `near` is the Jaccard similarity in (0, 1] from which rows are near duplicates. Sorted by evaluation split and row,
    then strongest first.
    """
    asked, trained = _grouped(evaluation), _grouped(turn for sample in training for turn in every_turn(sample))
    nearest = _nearest(list(asked), list(trained), near, most)
    overlaps: list[Overlap] = []
    for words, samples in asked.items():
        similar = [(similarity, sample) for similarity, other in nearest[words] for sample in trained[other]]
        by_text: dict[str, list[Sample]] = defaultdict(list)
        for sample in trained.get(words, []):
            by_text[asked_text(sample)].append(sample)
        for sample in samples:
            text = asked_text(sample)
            pairs: list[tuple[Kind, float, Sample]] = [("exact", 1.0, s) for s in by_text[text][:most]]
            if words:
                others = (s for other, group in by_text.items() if other != text for s in group)
                pairs += [("normalised", 1.0, s) for s in itertools.islice(others, most - len(pairs))]
            pairs += [("near", similarity, s) for similarity, s in similar[: most - len(pairs)]]
            overlaps += [_overlap(kind, other, sample, similarity) for kind, similarity, other in pairs]
    overlaps.sort(key=lambda o: (o.evaluation_split, o.evaluation_row, KINDS.index(o.kind), -o.similarity))
    rows: dict[tuple[str, int, str, int], Overlap] = {}
    for overlap in overlaps:  # two conversations may overlap in several turns
        pair = (overlap.training_split, overlap.training_row, overlap.evaluation_split, overlap.evaluation_row)
        rows.setdefault(pair, overlap)
    return list(rows.values())


def count_overlaps(overlaps: Iterable[Overlap], dataset: Dataset) -> list[OverlapCount]:
    """How many evaluation rows each training split holds, for every pair of splits that overlap."""
    strongest: dict[tuple[str, str], dict[int, Kind]] = defaultdict(dict)
    for overlap in overlaps:
        rows = strongest[overlap.training_split, overlap.evaluation_split]
        rows[overlap.evaluation_row] = min(overlap.kind, rows.get(overlap.evaluation_row, "near"), key=KINDS.index)
    counts = []
    for (training, evaluation), rows in strongest.items():
        kinds = Counter(rows.values())
        counts.append(
            OverlapCount(
                training_split=training,
                evaluation_split=evaluation,
                exact=kinds["exact"],
                normalised=kinds["normalised"],
                near=kinds["near"],
                rows=len({sample.row for sample in dataset.splits[evaluation]}),
            )
        )
    return counts


def check_contamination(
    dataset: Dataset,
    suite: Suite,
    *,
    training_splits: Sequence[str] | None = None,
    preferences: Sequence[Preference] = (),
) -> list[Overlap]:
    """The overlaps of training splits with evaluation splits, where the suite accepts them.

    `training_splits` are those with `use: training` where none are named; `preferences` are learnt from too, under the names
    of their files. Raises ContaminationError, with the row
    numbers of the first ten pairs, where a larger share of an evaluation split's rows is hit than
    `contamination.allow_share`.
    """
    if training_splits is None:
        training_splits = [name for name, split in suite.splits.items() if split.use == "training"]
    overlaps: list[Overlap] = []
    learnt = {name: list(dataset.splits[name]) for name in training_splits}
    for preference in preferences:
        learnt.setdefault(preference.sample.split, []).append(preference.sample)
    for training, samples in learnt.items():
        for name in suite.evaluation_splits():
            if name != training:
                overlaps += find_overlaps(samples, dataset.splits[name], near=suite.contamination.near)
    allowed = suite.contamination.allow_share
    refused = [count for count in count_overlaps(overlaps, dataset) if count.share > allowed]
    if refused:
        raise ContaminationError("\n".join(line for count in refused for line in _refusal(count, overlaps, allowed)))
    return overlaps


def asked_text(sample: Sample) -> str:
    """What two samples are compared by: the input, or the whole conversation before the answer without the system
    message.
    """
    return "\n".join(m.content for m in sample.messages if m.role != "system") or sample.input


def normalised_words(text: str) -> str:
    """Words in lower case with one space between; punctuation, controls and format characters are gone, marks and
    symbols stay.

    A Chinese or Japanese character counts as a word of its own.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_SEPARATORS).split())


class _Separators(dict[int, str]):
    """What becomes of a character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cf":
            self[code] = ""
        elif category[0] in "PZC":
            self[code] = " "
        elif 0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0x20000 <= code <= 0x3FFFF:
            self[code] = f" {character} "
        else:
            self[code] = character
        return self[code]


_SEPARATORS = _Separators()


def _grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples by their normalised words, in the order of first appearance."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[normalised_words(asked_text(sample))].append(sample)
    return groups


def _nearest(asked: list[str], trained: list[str], near: float, most: int) -> dict[str, list[tuple[float, str]]]:
    """For each evaluation text its `most` nearest training texts with other words, nearest first, the earlier one at a
    tie.
    """
    heaps: dict[str, list[tuple[float, int]]] = {words: [] for words in asked}
    is_short = {words: words.count(" ") < GRAM - 1 for words in asked}
    long = _Join({words: _grams(words.split()) for words in asked if not is_short[words]}, near)
    short = _Join({words: set(words.split()) for words in asked if is_short[words]}, near)
    long_by_words: _Join | None = None  # needed only where a training text is short
    for number, other in enumerate(trained):
        split = other.split()
        similar = short.similar(set(split))
        if len(split) >= GRAM:
            similar += long.similar(_grams(split))
        else:
            if long_by_words is None:
                long_by_words = _Join({words: set(words.split()) for words in asked if not is_short[words]}, near)
            similar += long_by_words.similar(set(split))
        for words, similarity in similar:
            if words != other:
                push = heapq.heappush if len(heaps[words]) < most else heapq.heappushpop
                push(heaps[words], (similarity, -number))
    return {
        words: [(similarity, trained[-number]) for similarity, number in sorted(heap, reverse=True)]
        for words, heap in heaps.items()
    }


def _grams(words: list[str]) -> set[Hashable]:
    return set(zip(words, words[1:], words[2:], strict=False))


class _Join:
    """Finds, among named sets, those with a Jaccard similarity of at least `near` to a given set."""

    def __init__(self, sets: Mapping[str, Collection[Hashable]], near: float) -> None:
        self._near = near
        frequency = Counter(item for items in sets.values() for item in items)
        self._rank = {item: rank for rank, (item, _) in enumerate(sorted(frequency.items(), key=lambda pair: pair[1]))}
        self._sets = {name: frozenset(self._rank[item] for item in items) for name, items in sets.items()}
        self._by_rare: dict[int, list[str]] = defaultdict(list)
        for name, ranks in self._sets.items():
            for rank in sorted(ranks)[: self._prefix(len(ranks))]:
                self._by_rare[rank].append(name)

    def _needed(self, size: int) -> int:
        """Members a set of this size must share with any set that is similar enough; rounding must not ask for more."""
        return math.ceil(self._near * size - 1e-9)

    def _prefix(self, size: int) -> int:
        """How many of a set's rarest members hold at least one that a similar set shares."""
        return size - self._needed(size) + 1

    def similar(self, items: Collection[Hashable]) -> list[tuple[str, float]]:
        """(name, similarity) of each set that is similar enough, in no order."""
        size = len(items)
        ranks = sorted(self._rank[item] for item in items if item in self._rank)
        if not ranks or len(ranks) < self._needed(size):
            return []
        unknown = size - len(ranks)  # in no set: rarer than all others
        candidates = {name for rank in ranks[: self._prefix(size) - unknown] for name in self._by_rare.get(rank, ())}
        known = frozenset(ranks)
        found = []
        for name in candidates:
            other = self._sets[name]
            shared = len(known & other)
            similarity = shared / (size + len(other) - shared)
            if similarity >= self._near:
                found.append((name, similarity))
        return found


def _overlap(kind: Kind, training: Sample, evaluation: Sample, similarity: float) -> Overlap:
    return Overlap(
        kind=kind,
        training_split=training.split,
        training_row=training.row,
        evaluation_split=evaluation.split,
        evaluation_row=evaluation.row,
        similarity=similarity,
    )


def _refusal(count: OverlapCount, overlaps: Sequence[Overlap], allowed: float) -> list[str]:
    pairs = [
        o for o in overlaps
        if (o.training_split, o.evaluation_split) == (count.training_split, count.evaluation_split)
    ]  # fmt: skip
    lines = [
        f"training split '{count.training_split}' holds {count.hit:,} of the {count.rows:,} rows of "
        f"'{count.evaluation_split}' ({count.exact} exact, {count.normalised} normalised, {count.near} near), "
        f"a share of {count.share:.4g} where {allowed:g} is allowed. Take the rows out, give both the same cluster, "
        "or raise contamination.allow_share."
    ]
    lines += [
        f"  row {o.training_row} of '{o.training_split}' and row {o.evaluation_row} of '{o.evaluation_split}': {o.kind}"
        + (f", similarity {o.similarity:.2f}" if o.kind == "near" else "")
        for o in pairs[:SHOWN_PAIRS]
    ]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"  and {len(pairs) - SHOWN_PAIRS:,} more pairs")
    return lines
