"""From samples to prompts: zero-shot, few-shot, retrieval.

Guarantees: the shots of few-shot prompting are drawn by a hash of the seed, so they are the same for every sample and
appending rows to the split changes few of them; a sample never sees itself as an example; equal samples get equal
prompts, in any order. Examples stand before the question as turns of the conversation, retrieved ones with the nearest
last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from harness.errors import DataError, UserError
from harness.records import Embedder, Message, Prompt, Sample, fingerprint
from harness.suite import render_prompt

CHUNK = 256
"""Queries compared with the whole split at once."""


class ZeroShot:
    """The question alone."""

    def __init__(self, *, template: str, system: str | None = None) -> None:
        """`template` is Jinja over the row's columns and `input`; `system` stands before every conversation."""
        self._template = template
        self._system = system

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """One prompt a sample, in order. Raises DataError naming the row whose template cannot be filled."""
        return [self.prompt(sample) for sample in samples]

    def prompt(self, sample: Sample, *, examples: Sequence[Sample] = (), contexts: tuple[str, ...] = ()) -> Prompt:
        """A sample's prompt after worked examples: question and reference as turns before it."""
        turns = [turn for example in examples for turn in self._worked(example)]
        asked = self._asked(sample)
        own = asked[0].content if asked[0].role == "system" else self._system
        system = [Message(role="system", content=own)] if own is not None else []
        asked = asked[1:] if asked[0].role == "system" else asked
        return Prompt(sample_id=sample.id, messages=(*system, *turns, *asked), contexts=contexts)

    def _worked(self, example: Sample) -> list[Message]:
        asked = [turn for turn in self._asked(example) if turn.role != "system"]
        return [*asked, Message(role="assistant", content=example.references[0])]

    def _asked(self, sample: Sample) -> list[Message]:
        """The turns of a sample: a conversation as it stands, or the filled template as one user turn."""
        if sample.messages:
            return list(sample.messages)
        try:
            content = render_prompt(self._template, {**sample.columns, "input": sample.input})
        except UserError as error:
            raise DataError(f"row {sample.row}: {error}") from None
        return [Message(role="user", content=content)]


class FewShot:
    """The question after a few worked examples, the same for every sample."""

    def __init__(self, zero: ZeroShot, pool: Sequence[Sample], *, shots: int, seed: int) -> None:
        """`pool` is the split the examples come from. Raises UserError where it has too few rows with a reference."""
        ranked = sorted((s for s in pool if s.references), key=lambda s: (fingerprint([seed, s.id]), s.id))
        if len(ranked) < shots:
            raise UserError(f"'shots' must be at most the split's {len(ranked)} rows with a reference (got {shots}).")
        self._zero = zero
        self._ranked = ranked[: shots + 1]  # one to spare, for a sample that is itself an example
        self._shots = shots

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """One prompt a sample, in order."""
        return [self._zero.prompt(sample, examples=self._examples(sample)) for sample in samples]

    def _examples(self, sample: Sample) -> list[Sample]:
        return [shot for shot in self._ranked if shot.id != sample.id][: self._shots]


class Retrieval:
    """The question after the rows of a split with the nearest inputs; their references are the contexts."""

    def __init__(
        self, zero: ZeroShot, pool: Sequence[Sample], *, k: int, embedder: Callable[[], Embedder] | None
    ) -> None:
        """Takes rows with a reference only.

        Args:
            zero: how a question is worded.
            pool: the split to retrieve from.
            k: examples a sample gets; fewer where the split has fewer.
            embedder: opens an encoder when it is needed; None for TF-IDF.

        Raises:
            UserError: where no row of the split has a reference.
        """
        self._zero = zero
        self._pool = sorted((s for s in pool if s.references), key=lambda s: s.id)
        if not self._pool:
            raise UserError("retrieval needs a split whose rows have references (got none).")
        self._k = k
        self._embedder = embedder

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """One prompt a sample, in order; `contexts` holds the retrieved references, the nearest first."""
        prompts = []
        for start in range(0, len(samples), CHUNK):
            chunk = samples[start : start + CHUNK]
            similarities = self._similarities([sample.input for sample in chunk])
            for sample, row in zip(chunk, similarities, strict=True):
                nearest = self._nearest(sample, row)
                contexts = tuple(example.references[0] for example in nearest)
                prompts.append(self._zero.prompt(sample, examples=nearest[::-1], contexts=contexts))
        return prompts

    def _nearest(self, sample: Sample, similarities: np.ndarray[Any, Any]) -> list[Sample]:
        """The k nearest other rows; ties go by id."""
        wanted = min(self._k + 1, len(self._pool))  # one to spare: the sample itself may be among them
        floor = np.partition(similarities, -wanted)[-wanted]
        near = np.flatnonzero(similarities >= floor)
        order = near[np.argsort(-similarities[near], kind="stable")]
        return [self._pool[i] for i in order if self._pool[i].id != sample.id][: self._k]

    def _similarities(self, queries: Sequence[str]) -> np.ndarray[Any, Any]:
        """Cosine of each query with each row of the pool, shape [queries][pool]."""
        encode, rows = self._index
        cosines = encode(queries) @ rows.T
        return np.asarray(cosines.todense() if hasattr(cosines, "todense") else cosines, dtype=np.float64)

    @cached_property
    def _index(self) -> tuple[Callable[[Sequence[str]], Any], Any]:
        """How a query becomes a unit vector, and the vectors of the pool."""
        inputs = [sample.input for sample in self._pool]
        if self._embedder is not None:
            encode = self._embedder().embed
            return encode, encode(inputs)
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        try:
            rows = vectorizer.fit_transform(inputs)
        except ValueError as error:
            raise UserError(f"retrieval found no words in the split's inputs ({error}).") from None
        return vectorizer.transform, rows
