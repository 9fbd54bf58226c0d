"""Lets a model in training answer a part of the validation split, and says what the suite's judges make of it.

The judges come as arguments, the model as whatever answers prompts: a training calls back here and knows neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.data.splits import keep
from harness.models.candidates import asker, settings_of
from harness.records import (
    Answer,
    Case,
    Completion,
    Failure,
    GenerationSettings,
    Generator,
    Inquirer,
    Judge,
    Needs,
    Prompt,
    Sample,
    fingerprint,
)
from harness.running.plan import Means, Plan, PlannedTraining
from harness.running.runner import case_of, judged
from harness.suite.checks import NOT_OF_ONE_ANSWER
from harness.suite.grammar import LOSS, REFERRING, TrainSpec
from harness.training.recipe import reference_rows
from harness.training.selection import Validation

Notice = Callable[[str], None]


def validation_of(
    plan: Plan, planned: PlannedTraining, prompt: Callable[[Sample], Prompt], *, notice: Notice | None = None
) -> Validation | None:
    """What a planned training evaluates its checkpoints with; None for one that does not.

    Candidates are asked as they will be in the end (few-shot and retrieval included), but for the temperature, which is 0.
    Raises ModelError where a judge's model is missing, UserError for rows without answer.
    """
    spec, suite = planned.spec, plan.loaded.suite
    if spec.evaluate_every is None:
        return None
    if plan.means is None:
        raise ValueError("a plan with trainings that evaluate checkpoints needs the means to judge them")
    candidate = plan.spec(planned.candidate)
    settings = settings_of(candidate, suite)
    examination = Examination(
        samples=keep(planned.validation, spec.evaluate_samples, seed=suite.seed),
        ask=asker(candidate, suite=suite, dataset=plan.dataset, embedder=plan.means.embedder),
        settings=replace(settings, temperature=0.0, top_p=1.0),
        judges=_judges(plan, spec, plan.means),
        notice=notice or (lambda line: None),
    )
    return Validation(
        rows=() if spec.objective in REFERRING else tuple(reference_rows(spec, planned.validation, prompt)),
        questions=examination.questions,
        samples=len(examination.samples),
        metrics={judge.metric.name: judge.metric for judge in examination.judges},
        fingerprints={judge.metric.name: judge.fingerprint for judge in examination.judges},
        examine=examination,
    )


def _judges(plan: Plan, spec: TrainSpec, means: Means) -> list[Judge]:
    """Those that are named and those that decide, in the order of the suite."""
    judges = plan.loaded.suite.judges
    local = [name for name, judge in judges.items() if getattr(getattr(judge, "model", None), "kind", "") != "openai"]
    asks = (
        spec.objective != "language_modelling"
    )  # raw text is no question, unless somebody wants to see what becomes of it
    able = [name for name in local if asks and judges[name].kind not in NOT_OF_ONE_ANSWER]
    named = spec.evaluate_with or able
    wanted = {*named, spec.selects_by, spec.stops_by} - {None, LOSS}
    return [means.judge(name) for name in judges if name in wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Samples, how they are asked, and who judges the answers."""

    samples: Sequence[Sample]
    ask: Callable[[Sequence[Sample]], list[Prompt]]
    settings: GenerationSettings
    judges: Sequence[Judge]
    notice: Notice

    @property
    def questions(self) -> str:
        """Hash of all that decides a score beside model and judge."""
        cases = [
            [prompt.sha, case_of(sample, self._answer(sample, prompt, "")).sha]
            for sample, prompt in zip(self.samples, self.ask(self.samples), strict=True)
        ]
        return fingerprint([cases, self.settings.max_new_tokens, list(self.settings.stop)])

    def __call__(self, generator: Generator) -> Mapping[str, Mapping[str, float]]:
        """By judge, the score of each sample that has one. Raises ModelError where the model breaks down."""
        if not self.judges:
            return {}
        prompts = self.ask(self.samples)
        texts: dict[int, Completion] = {}
        for batch in generator.generate(prompts, self.settings):
            texts.update(batch)
        answers = [
            replace(self._answer(sample, prompt, ""), completion=texts[index])
            for index, (sample, prompt) in enumerate(zip(self.samples, prompts, strict=True))
        ]
        return {judge.metric.name: self._scores(judge, answers) for judge in self.judges}

    def _scores(self, judge: Judge, answers: Sequence[Answer]) -> dict[str, float]:
        cases: list[Case] = []
        failures: list[Failure] = []
        for sample, answer in zip(self.samples, answers, strict=True):
            unmet = _unmet(judge, sample) or answer.completion.error
            if unmet is None:
                cases.append(case_of(sample, answer))
            else:
                failures.append(unmet)
        judgements = judged(judge, cases) if cases else []
        failures += [judgement.error for judgement in judgements if judgement.error is not None]
        for (kind, message), count in Counter((f.kind, f.message) for f in failures).most_common(1):
            self.notice(
                f"{judge.metric.name}: {len(failures)} of {len(self.samples)} answers have no score, {count} of them for "
                f"{kind}: {message}"
            )
        return {
            case.id: judgement.score
            for case, judgement in zip(cases, judgements, strict=True)
            if judgement.score is not None
        }

    @staticmethod
    def _answer(sample: Sample, prompt: Prompt, text: str) -> Answer:
        return Answer(
            key="", candidate="", sample_id=sample.id, prompt_sha=prompt.sha, completion=Completion(text=text),
            contexts=prompt.contexts, prompt=prompt.messages,
        )  # fmt: skip


def _unmet(judge: Judge, sample: Sample) -> Failure | None:
    """Why a judge cannot judge an answer by itself: it would draw further ones, or lacks something of the sample."""
    if not isinstance(judge, Inquirer):
        return None
    needs = judge.needs(sample)
    if isinstance(needs, Failure):
        return needs
    return None if needs == Needs() else Failure(kind="needs_more", message="the judge needs more than one answer")
