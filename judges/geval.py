"""G-Eval: a criterion, evaluation steps, a form that asks for the score alone, and a probability-weighted score.

After Liu et al. 2023 (EMNLP, section 3): the steps are written once by the judge, or pinned in the suite, and shared by every
candidate; the score is sum(p(s) * s) over the scores s of the declared scale, mapped to [0, 1] by the declared ends. Modes:

- *exact* (models that run here): the likelihood of every score string, end of turn included, under teacher forcing; the
  distribution is their softmax, so no top-k cut and no guess about tokens: "10" as one token or two gives the same score.
- *topk* (endpoints with logprobs): the first reply token's alternatives, merged by the score they spell; used only when the valid
  mass is at least `MASS_FLOOR` and no score of the scale takes two tokens (scales up to 9).
- *sampled* (endpoints without): `samples` draws at temperature 1; unreadable draws are left out and counted.

A distribution without enough valid mass, or no readable draw, is an error, never a low score.
Judged well: what the criterion names in plain words. Judged ill: facts (use correctness).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.errors import ModelError, UserError
from harness.records import (
    Case,
    ChoiceScorer,
    Failure,
    GenerationSettings,
    Generator,
    Judgement,
    Message,
    Metric,
    Models,
    Prompt,
    ScoreSampler,
    fingerprint,
)
from harness.suite.grammar import AnswersModel, GEvalSpec, OpenAIModel
from judges.judging import Scored, judge_each

VERSION = 1
WORKERS = 8
"""Forms that are with an endpoint at once; the endpoint itself may allow fewer."""
MASS_FLOOR = 0.5
"""Least share of probability on valid scores for a topk distribution to count."""
_SCORE = re.compile(r"-?\d+(?:\.\d+)?")
_PLACEHOLDER = re.compile(r"\{(criteria|steps|input|answer|low|high)\}")
_STEP = re.compile(r"^\s*(?:\d+[.):]|[-*])\s*(?=\S)")


def prompt_text(name: str) -> str:
    """A prompt file of judges/prompts, as text."""
    return resources.files("judges").joinpath("prompts", name).read_text(encoding="utf-8")


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fills known placeholders in one pass, so braces or placeholders inside a value stay as they are."""
    return _PLACEHOLDER.sub(lambda match: values.get(match.group(1), match.group()), template)


class Distribution(Protocol):
    """How one mode turns filled forms into scores."""

    mode: str
    key: str

    def score(self, forms: Sequence[str]) -> list[tuple[float, dict[str, Any]] | Failure]:
        """For each form the raw score on the scale with its evidence."""
        ...


class ExactScores:
    """Teacher-forced likelihoods of every score of the scale."""

    mode = "exact"

    def __init__(self, scorer: ChoiceScorer, scale: tuple[int, int]) -> None:
        self._scorer = scorer
        self._scores = list(range(scale[0], scale[1] + 1))
        self.key = scorer.key

    def score(self, forms: Sequence[str]) -> list[tuple[float, dict[str, Any]] | Failure]:
        prompts = [(Message(role="user", content=form),) for form in forms]
        rows = self._scorer.log_likelihoods(prompts, [str(score) for score in self._scores])
        return [self._weigh(row) for row in rows]

    def _weigh(self, row: list[float]) -> tuple[float, dict[str, Any]] | Failure:
        top = max(row)
        if top == -math.inf:
            return Failure(kind="prompt_too_long", message="the form does not fit the judge model's context window")
        weights = [math.exp(value - top) for value in row]
        total = sum(weights)
        probabilities = {str(s): w / total for s, w in zip(self._scores, weights, strict=True)}
        mass = sum(math.exp(value) for value in row)
        return _mean(probabilities), _evidence(self.mode, probabilities, mass)


class EndpointScores:
    """The first token's alternatives at an endpoint, falling back to draws where the endpoint gives none."""

    def __init__(
        self, sampler: ScoreSampler, scale: tuple[int, int], *, samples: int, mode: Literal["auto", "topk", "sampled"]
    ) -> None:
        self._sampler = sampler
        self._scale = scale
        self._samples = samples
        self._wanted = mode
        self.key = sampler.key
        self.mode = "sampled" if mode == "sampled" or scale[1] > 9 or scale[0] < 0 else "topk"
        if mode == "topk" and self.mode != "topk":
            raise UserError(f"'mode: topk' reads one token, and scale {list(scale)} needs more. Use 0..9 or 'sampled'.")

    def score(self, forms: Sequence[str]) -> list[tuple[float, dict[str, Any]] | Failure]:
        """Asks for all forms at once where the mode is known; the first one alone finds out whether there are logprobs."""
        messages = [(Message(role="user", content=form),) for form in forms]
        first = [self._one(message) for message in messages[:1]]
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            return [*first, *pool.map(self._one, messages[1:])]

    def _one(self, messages: tuple[Message, ...]) -> tuple[float, dict[str, Any]] | Failure:
        try:
            if self.mode == "topk":
                tokens = self._sampler.reply_tokens(messages, temperature=1.0, max_new_tokens=1)
                if tokens is not None:
                    return self._from_logprobs(tokens[0].alternatives)
                if self._wanted == "topk":
                    return Failure(kind="no_logprobs", message="the endpoint gives no logprobs; use mode 'sampled'")
                self.mode = "sampled"  # remembered: one endpoint, one mode
            return self._from_draws(self._sampler.sample(messages, n=self._samples, temperature=1.0, max_new_tokens=8))
        except ModelError as error:
            return Failure(kind="judge_unreachable", message=str(error))

    def _from_logprobs(self, alternatives: Sequence[tuple[str, float]]) -> tuple[float, dict[str, Any]] | Failure:
        masses: dict[str, float] = {}
        for token, logprob in alternatives:
            score = read_score(token, self._scale)
            if score is not None and score == int(score):
                spelled = str(int(score))
                masses[spelled] = masses.get(spelled, 0.0) + math.exp(logprob)
        mass = sum(masses.values())
        if mass < MASS_FLOOR:
            return Failure(kind="low_valid_mass", message=f"only {mass:.3f} of the probability is on valid scores")
        probabilities = {score: value / mass for score, value in sorted(masses.items(), key=lambda item: int(item[0]))}
        return _mean(probabilities), _evidence("topk", probabilities, mass)

    def _from_draws(self, replies: list[str]) -> tuple[float, dict[str, Any]] | Failure:
        scores = [score for score in (read_score(reply, self._scale) for reply in replies) if score is not None]
        if not scores:
            return Failure(kind="unparsable", message=f"none of {len(replies)} replies starts with a score")
        counts = Counter(f"{score:g}" for score in scores)
        probabilities = {score: n / len(scores) for score, n in sorted(counts.items(), key=lambda item: float(item[0]))}
        mean = sum(scores) / len(scores)
        spread = math.sqrt(sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)) if len(scores) > 1 else None
        evidence = _evidence("sampled", probabilities, len(scores) / len(replies))
        error = spread / math.sqrt(len(scores)) if spread is not None else None
        return mean, {**evidence, "n": len(scores), "unparsable": len(replies) - len(scores), "standard_error": error}


def read_score(text: str, scale: tuple[int, int]) -> float | None:
    """The score a reply starts with: ASCII digits inside the scale, Markdown, quotes and a `Score:` label ignored; else None."""
    stripped = re.sub(r"^(?:[\s*_`\"'▁:]|[-–]\s)*(?:score\s*[:=]?[\s*_`\"']*)?", "", text, flags=re.IGNORECASE)
    match = _SCORE.match(stripped)
    if match is None or not match.group().isascii():
        return None
    value = float(match.group())
    return value if scale[0] <= value <= scale[1] else None


class GEvalJudge:
    """One criterion on one scale, normalised to [0, 1], higher is better."""

    def __init__(
        self, name: str, distribution: Distribution, *, criteria: str, steps: Sequence[str], scale: tuple[int, int]
    ) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._distribution = distribution
        self._criteria = criteria
        self._steps = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
        self._scale = scale
        self._form = prompt_text("geval_form.txt").strip()
        self.steps_hash = hashlib.sha256(self._steps.encode()).hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            ["geval", VERSION, self._distribution.key, self._form, self._criteria, self._steps, self._scale]
        )

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer", "input"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        low, high = self._scale
        forms = [self._fill(case) for case in cases]
        unique = list(dict.fromkeys(forms))
        rows = dict(zip(unique, self._distribution.score(unique), strict=True))
        scored: list[Scored | Failure] = []
        for form in forms:
            row = rows[form]
            if isinstance(row, Failure):
                scored.append(row)
                continue
            raw, evidence = row
            scored.append(((raw - low) / (high - low), None, {"raw": raw, **evidence, "steps_hash": self.steps_hash}))
        return scored

    def _fill(self, case: Case) -> str:
        values = {
            "criteria": self._criteria, "steps": self._steps, "input": case.input or "",
            "answer": (case.answer or "").strip() or "(empty)", "low": str(self._scale[0]), "high": str(self._scale[1]),
        }  # fmt: skip
        return fill(self._form, values)


def build_geval(name: str, spec: GEvalSpec, models: Models, *, steps_folder: Path | None = None) -> GEvalJudge:
    """The judge of a suite's `kind: geval`. Steps that are not pinned are written by the judge model, once, and kept.

    Raises ModelError when the model cannot be reached or writes no steps, UserError for a mode the model cannot do.
    """
    if isinstance(spec.model, AnswersModel):
        raise UserError(
            f"judge '{name}': a geval model must generate (got kind 'answers'). Use transformers or openai."
        )
    distribution: Distribution
    if isinstance(spec.model, OpenAIModel):
        if spec.mode == "exact":
            raise UserError(f"judge '{name}': mode 'exact' needs a model that runs here. Use 'auto' with kind openai.")
        distribution = EndpointScores(
            models.score_sampler(spec.model), spec.scale, samples=spec.samples, mode=spec.mode
        )
    else:
        if spec.mode not in ("auto", "exact"):
            raise UserError(f"judge '{name}': mode '{spec.mode}' is for endpoints. Use 'exact' with kind transformers.")
        distribution = ExactScores(models.choice_scorer(spec.model), spec.scale)
    steps = spec.steps or _kept_steps(name, spec, models.generator(spec.model), steps_folder)
    return GEvalJudge(name, distribution, criteria=spec.criteria, steps=steps, scale=spec.scale)


def _kept_steps(name: str, spec: GEvalSpec, generator: Generator, folder: Path | None) -> list[str]:
    """The steps the judge model wrote for these criteria before, or writes now."""
    values = {"criteria": spec.criteria, "low": str(spec.scale[0]), "high": str(spec.scale[1])}
    request = fill(prompt_text("geval_steps.txt").strip(), values)
    if folder is None:
        return write_steps(name, request, generator)
    path = folder / f"{fingerprint([generator.key, request])[:32]}.json"
    if path.is_file():
        kept: list[str] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    steps = write_steps(name, request, generator)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(steps, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)
    return steps


def write_steps(name: str, request: str, generator: Generator) -> list[str]:
    """Asks the judge model for its evaluation steps, greedily. Raises ModelError when it writes none."""
    prompt = Prompt(sample_id="steps", messages=(Message(role="user", content=request),))
    settings = GenerationSettings(max_new_tokens=300)
    completion = next(c for batch in generator.generate([prompt], settings) for _, c in batch)
    lines = [_STEP.sub("", line).strip() for line in (completion.text or "").splitlines() if _STEP.match(line)]
    if not lines:
        why = completion.error.message if completion.error else f"it wrote {(completion.text or '')[:80]!r}"
        raise ModelError(f"judge '{name}': the model wrote no evaluation steps ({why}). Pin them under 'steps:'.")
    return lines


def _mean(probabilities: Mapping[str, float]) -> float:
    return sum(float(score) * probability for score, probability in probabilities.items())


def _evidence(mode: str, probabilities: Mapping[str, float], mass: float) -> dict[str, Any]:
    rounded = {score: round(value, 6) for score, value in probabilities.items()}
    return {"mode": mode, "distribution": rounded, "valid_mass": round(min(1.0, mass), 6)}
