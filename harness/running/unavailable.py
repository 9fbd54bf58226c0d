"""Stand-ins for a candidate or judge that cannot be loaded: every sample gets the reason, none gets a score, the run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.records import Case, Completion, Failure, Judgement, Likelihood, Metric, Prompt, Sample, fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableCandidate:
    """A candidate without a model: each answer is the same failure."""

    name: str
    failure: Failure

    @property
    def key(self) -> str:
        return fingerprint(["unavailable", self.name, self.failure.message])

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        return [Prompt(sample_id=sample.id, messages=()) for sample in samples]

    def answer_key(self, prompt: Prompt) -> str:
        return fingerprint([self.key, prompt.sample_id])

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Completion]]]:
        yield [(index, Completion(text=None, error=self.failure)) for index in range(len(prompts))]

    def draw_key(self, prompt: Prompt, number: int) -> str:
        return fingerprint([self.key, prompt.sample_id, number])

    def draw(self, prompts: Sequence[Prompt], number: int) -> Iterator[list[tuple[int, Completion]]]:
        return self.generate(prompts)

    def likelihood_key(self, prompt: Prompt, text: str) -> str:
        return fingerprint([self.key, prompt.sample_id, text])

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        yield [(index, self.failure) for index in range(len(pairs))]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnavailableJudge:
    """A judge without a model: each judgement is unscored with the same failure."""

    metric: Metric
    failure: Failure

    @property
    def fingerprint(self) -> str:
        return fingerprint(["unavailable", self.metric.name, self.failure.message])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return [Judgement(id=c.id, metric=self.metric.name, score=None, error=self.failure) for c in cases]
