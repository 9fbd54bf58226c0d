"""What a run would ask of endpoints at most, before it asks: requests, tokens and cost of each candidate and judge.

Guarantees: counts requests as if nothing were stored and every answer had its full length; failed tries come on top, limits and
budgets do not count. Tokens are estimated from the length of the texts, on the high side; without a price a cost is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from harness.models import prompting
from harness.models.endpoint.sending import TURN_TOKENS, estimate_tokens
from harness.models.endpoint.traffic import Price, Tokens
from harness.records import Prompt, Sample
from harness.running.plan import Plan
from harness.suite.grammar import (
    AnyJudgeSpec,
    CandidateSpec,
    FewShot,
    GEvalSpec,
    HallucinationSpec,
    OpenAIModel,
    PairwiseSpec,
    Retrieval,
    ZeroShot,
)
from harness.training.recipe import steps_of

FORM_TOKENS = 400
"""Of a judge's form, without what it judges: criteria, steps, and what is asked for."""
GRADE_TOKENS = 16
"""Of a judge's reply: a score or a choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one candidate or judge would ask of a model behind an endpoint, at most."""

    user: str
    model: OpenAIModel
    requests: int
    tokens: Tokens

    @property
    def cost(self) -> float | None:
        """In the currency of the model's price; None where it has none."""
        price = self.model.price
        return Price(price.input, price.output).of(self.tokens) if price is not None else None


def expected_requests(plan: Plan) -> list[Expected]:
    """One entry for each teacher, reward, candidate and judge behind an endpoint, in this order, else in the suite's."""
    return [*expected_lessons(plan), *_candidates(plan), *_judges(plan)]


def expected_lessons(plan: Plan) -> list[Expected]:
    """What trainings ask: one entry for each teacher behind an endpoint, and for each judge there that says which of its
    answers are kept, or rewards drawn answers.
    """
    lessons = {
        (planned.teacher.name, planned.split, tuple(planned.spec.keep)): planned
        for planned in plan.trainings
        if planned.teacher is not None
    }
    teachers = {key[:2]: planned for key, planned in lessons.items()}
    found = []
    for planned in teachers.values():
        teacher = planned.teacher
        if teacher is None or not isinstance(teacher.spec.model, OpenAIModel):
            continue
        asked = sum(_prompt_tokens(prompt) for prompt in _prompts(plan, teacher.spec, planned.samples))
        said = len(planned.samples) * _answer_tokens(plan, teacher.spec)
        found.append(
            Expected(
                user=f"{teacher.name} as teacher", model=teacher.spec.model, requests=len(planned.samples),
                tokens=Tokens(asked, said),
            )
        )  # fmt: skip
    for planned in lessons.values():
        assert planned.teacher is not None
        answer = _answer_tokens(plan, planned.teacher.spec)
        for name in planned.spec.keep:
            found += _judge(f"{name} of training rows", plan.loaded.suite.judges[name], planned.samples, answer=answer)
    return [*found, *_rewards(plan)]


def _candidates(plan: Plan) -> Iterator[Expected]:
    for name in plan.candidates:
        spec = plan.spec(name)
        if isinstance(spec.model, OpenAIModel):
            times = [1 + _draws(plan, sample) for sample in plan.samples]
            sizes = [_prompt_tokens(prompt) for prompt in _prompts(plan, spec, plan.samples)]
            asked = sum(n * size for n, size in zip(times, sizes, strict=True))
            tokens = Tokens(asked, sum(times) * _answer_tokens(plan, spec))
            yield Expected(user=name, model=spec.model, requests=sum(times), tokens=tokens)


def _draws(plan: Plan, sample: Sample) -> int:
    """Further answers that judges of self-consistency want to a sample."""
    if sample.references or sample.contexts:
        return 0
    judges = plan.loaded.suite.judges.values()
    return max((judge.samples for judge in judges if isinstance(judge, HallucinationSpec)), default=0)


def _prompts(plan: Plan, spec: CandidateSpec, samples: Sequence[Sample]) -> list[Prompt]:
    """The candidate's prompts; of one that retrieves, prompts with the first rows of its split in place of the nearest."""
    suite = plan.loaded.suite
    zero = prompting.ZeroShot(template=suite.prompt, system=suite.system)
    match spec.prompting:
        case ZeroShot():
            return zero.prompts(samples)
        case FewShot(split=split, shots=shots):
            return prompting.FewShot(zero, plan.dataset.splits[split], shots=shots, seed=suite.seed).prompts(samples)
        case Retrieval(split=split, k=k):
            rows = [sample for sample in plan.dataset.splits[split] if sample.references][:k]
            return [zero.prompt(sample, examples=rows) for sample in samples]
        case _ as never:
            assert_never(never)


def _prompt_tokens(prompt: Prompt) -> int:
    return sum(estimate_tokens(message.content) + TURN_TOKENS for message in prompt.messages)


def _answer_tokens(plan: Plan, spec: CandidateSpec) -> int:
    return (spec.generation or plan.loaded.suite.generation).max_new_tokens


def _judges(plan: Plan) -> Iterator[Expected]:
    answer = max(_answer_tokens(plan, plan.spec(candidate)) for candidate in plan.candidates)
    for name, spec in plan.loaded.suite.judges.items():
        judged = {sample.id for sample in plan.membership if spec.splits is None or sample.split in spec.splits}
        samples = [sample for sample in plan.samples if sample.id in judged]
        yield from _judge(name, spec, samples, answer=answer, candidates=len(plan.candidates))


def _judge(
    user: str, spec: AnyJudgeSpec, samples: Sequence[Sample], *, answer: int, candidates: int = 1
) -> Iterator[Expected]:
    """One entry where the judge is behind an endpoint: so many candidates' answers of `answer` tokens to the samples."""
    model = getattr(spec, "model", None)
    if not isinstance(model, OpenAIModel):
        return
    answers = 2 if isinstance(spec, PairwiseSpec) else 1
    shown = sum(_shown_tokens(sample) for sample in samples) + len(samples) * (FORM_TOKENS + answers * answer)
    times = candidates * _calls(spec)
    yield Expected(
        user=user,
        model=model,
        requests=times * len(samples),
        tokens=Tokens(times * shown, times * len(samples) * GRADE_TOKENS),
    )


def _rewards(plan: Plan) -> Iterator[Expected]:
    for planned in plan.trainings:
        train = planned.spec
        drawn = steps_of(train, planned.rows) * train.batch_size * train.gradient_accumulation
        for name in train.rewards:
            spec = plan.loaded.suite.judges[name]
            model = getattr(spec, "model", None)
            if isinstance(model, OpenAIModel):
                shown = sum(_shown_tokens(sample) for sample in planned.samples) / max(planned.rows, 1)
                asked = drawn * _calls(spec)
                size = round(asked * (shown + FORM_TOKENS + _answer_tokens(plan, plan.spec(planned.candidate))))
                yield Expected(
                    user=f"{planned.candidate}, by {name}",
                    model=model,
                    requests=asked,
                    tokens=Tokens(size, asked * GRADE_TOKENS),
                )


def _calls(spec: AnyJudgeSpec) -> int:
    """Requests for one answer, or one pair of answers."""
    if isinstance(spec, GEvalSpec):
        forms = len(spec.criteria) if isinstance(spec.criteria, dict) else 1
        return forms * (1 if spec.mode == "topk" else spec.samples)
    return 2 * spec.samples if isinstance(spec, PairwiseSpec) else 1


def _shown_tokens(sample: Sample) -> int:
    texts: Sequence[str] = (
        sample.input,
        *(turn.content for turn in sample.messages[:-1]),
        *sample.references,
        *sample.contexts,
    )
    return sum(estimate_tokens(text) for text in texts)
