"""Entailment between texts of any length: what correctness, hallucination and entailment have in common.

A premise longer than the model reads is cut into overlapping windows of whole sentences and every window is asked, so
evidence is found wherever it stands; nothing is truncated in silence. Judges that look for evidence cut at `WINDOW` tokens, the
pair itself (entailment) only where the model ends. Windows of one premise are shared by all its hypotheses. Each pair is
computed once per process, whoever asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.records import PairClassifier
from judges.sentences import split_sentences

SPECIAL_TOKENS = 4
"""Room for [CLS] and two [SEP], and RoBERTa's doubled separator."""
WINDOW = 160
"""Tokens of a premise window where a judge looks for evidence: small NLI models read short premises best."""
CLAIM = 96
"""Tokens of a hypothesis: a longer sentence is cut by words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entailment:
    """The three probabilities for one hypothesis, and the premise window they come from."""

    entailment: float
    neutral: float
    contradiction: float
    window: str

    @property
    def label(self) -> str:
        """The likeliest of entailment, neutral and contradiction; ties go to the first."""
        pairs = (("entailment", self.entailment), ("neutral", self.neutral), ("contradiction", self.contradiction))
        return max(pairs, key=lambda pair: pair[1])[0]

    def evidence(self) -> dict[str, float]:
        return {
            "entailment": round(self.entailment, 6),
            "neutral": round(self.neutral, 6),
            "contradiction": round(self.contradiction, 6),
        }


class Entailer:
    """Asks one NLI model, with windows and a memory of the pairs already asked."""

    def __init__(self, classifier: PairClassifier) -> None:
        self._classifier = classifier
        self._memory: dict[tuple[str, str], tuple[float, float, float]] = {}

    @property
    def key(self) -> str:
        return self._classifier.key

    def entail(self, pairs: Sequence[tuple[str, str]], *, window: int | None = None) -> list[Entailment]:
        """One result a (premise, hypothesis) pair. Over several windows: the decisive one (see `_decisive`).

        A premise of more than `window` tokens is cut, and a hypothesis whose sentences stand in the premise word for word is
        entailed unasked; left out, only a premise longer than the model reads is cut, and all is asked. Raises ValueError when a
        hypothesis alone is longer than the model reads.
        """
        if window is not None:
            verbatim = [_stands_in(hypothesis, premise) for premise, hypothesis in pairs]
            asked = iter(self._asked([pair for pair, found in zip(pairs, verbatim, strict=True) if not found], window))
            return [
                Entailment(entailment=1.0, neutral=0.0, contradiction=0.0, window=hypothesis) if found else next(asked)
                for (_, hypothesis), found in zip(pairs, verbatim, strict=True)
            ]
        return self._asked(pairs, self._classifier.max_tokens)

    def _asked(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[Entailment]:
        windows = self._windows(pairs, limit)
        wanted = [
            (window, hypothesis) for (_, hypothesis), parts in zip(pairs, windows, strict=True) for window in parts
        ]
        missing = list(dict.fromkeys(pair for pair in wanted if pair not in self._memory))
        for pair, row in zip(missing, self._classifier.probabilities(missing), strict=True):
            self._memory[pair] = self._three_way(row)
        return [
            _decisive([(window, self._memory[window, hypothesis]) for window in parts])
            for (_, hypothesis), parts in zip(pairs, windows, strict=True)
        ]

    def _three_way(self, row: Sequence[float]) -> tuple[float, float, float]:
        by_label = dict(zip(self._classifier.labels, row, strict=True))
        neutral = by_label.get("neutral", 0.0) + by_label.get("not_entailment", 0.0)
        return by_label["entailment"], neutral, by_label.get("contradiction", 0.0)

    def claims(self, text: str) -> list[str]:
        """The sentences of a text, in order; one of more than `CLAIM` tokens in pieces of whole words."""
        pieces: list[str] = []
        for sentence, size in self._counted(split_sentences(text)):
            pieces += [sentence] if size <= self._claim else self._by_words(sentence, size, self._claim)
        return pieces

    def fits(self, text: str) -> bool:
        """Whether a text is short enough to be one hypothesis."""
        return self._classifier.count_tokens([text])[0] <= self._claim

    def parts(self, text: str) -> list[str]:
        """A hypothesis whole, or in windows of whole sentences where it would leave its premise fewer than `WINDOW` tokens."""
        reads = self._classifier.max_tokens
        room = max(reads // 2, reads - SPECIAL_TOKENS - WINDOW)
        return [text] if self._classifier.count_tokens([text])[0] <= room else self._cut(text, room)

    @property
    def _claim(self) -> int:
        return min(CLAIM, self._classifier.max_tokens // 2)

    def _windows(self, pairs: Sequence[tuple[str, str]], limit: int) -> list[list[str]]:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        tokens = dict(zip(texts, self._classifier.count_tokens(texts), strict=True))
        cut: dict[tuple[str, int], list[str]] = {}
        result = []
        for premise, hypothesis in pairs:
            room = self._classifier.max_tokens - SPECIAL_TOKENS - tokens[hypothesis]
            if room < 16:
                raise ValueError(
                    f"a sentence of {tokens[hypothesis]} tokens leaves no room for its premise"
                    f" (the model reads {self._classifier.max_tokens})"
                )
            room = min(room, limit)
            if tokens[premise] <= room:
                result.append([premise])
                continue
            room -= room % 64 if room > 192 else 0  # few distinct sizes, so that windows of one premise are shared
            if (premise, room) not in cut:
                cut[premise, room] = self._cut(premise, room)
            result.append(cut[premise, room])
        return result

    def _cut(self, premise: str, room: int) -> list[str]:
        """Windows of whole sentences, each starting with the last of the one before; a giant sentence is cut by words."""
        units: list[str] = []
        for sentence, size in self._counted(split_sentences(premise)):
            units += [sentence] if size <= room else self._by_words(sentence, size, room // 2)
        sized = self._counted(units)
        windows, start = [], 0
        while start < len(sized):
            end, total = start, 0
            while end < len(sized) and (end == start or total + sized[end][1] <= room):
                total += sized[end][1]
                end += 1
            windows.append(" ".join(unit for unit, _ in sized[start:end]))
            if end == len(sized):
                break
            start = max(start + 1, end - 1)
        return windows

    def _counted(self, texts: list[str]) -> list[tuple[str, int]]:
        return list(zip(texts, self._classifier.count_tokens(texts), strict=True))

    def _by_words(self, text: str, size: int, room: int) -> list[str]:
        """Pieces of at most `room` tokens, cut between words; a giant word (or a script without spaces) between letters."""
        words = text.split()
        if len(words) > 1:
            step = max(1, len(words) * room // size)
            pieces = [" ".join(words[i : i + step]) for i in range(0, len(words), step)]
        else:
            half = (len(text) + 1) // 2
            pieces = [text[:half], text[half:]]
        return [
            part
            for piece, count in self._counted(pieces)
            for part in ([piece] if count <= room or len(piece) < 2 else self._by_words(piece, count, room))
        ]


def _stands_in(hypothesis: str, premise: str) -> bool:
    said = _sentences(hypothesis)
    return bool(said) and said <= _sentences(premise)


@lru_cache(maxsize=4096)
def _sentences(text: str) -> frozenset[str]:
    plain = (re.sub(r"\W+", " ", sentence.lower()).strip() for sentence in split_sentences(text))
    return frozenset(sentence for sentence in plain if sentence)


def _decisive(rows: list[tuple[str, tuple[float, float, float]]]) -> Entailment:
    """The window that entails most, unless another contradicts more than any entails: support found anywhere is support."""
    supporting = max(rows, key=lambda row: row[1][0])
    opposing = max(rows, key=lambda row: row[1][2])
    window, (entailment, neutral, contradiction) = opposing if opposing[1][2] > supporting[1][0] else supporting
    return Entailment(entailment=entailment, neutral=neutral, contradiction=contradiction, window=window)
