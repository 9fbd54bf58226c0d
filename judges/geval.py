"""G-Eval: a criterion, evaluation steps, a form that asks for the score alone, and a probability-weighted score.

After Liu et al. 2023 (EMNLP, section 3). The judge model writes the steps once, greedily, or the suite pins them; they
are stored, hashed (`steps_hash` in the evidence) and shared by every candidate and every later run. The form
(`judges/prompts/geval_form.txt`) shows the criterion, the steps, what is to be judged, and asks for the score only. The
score is sum(p(s) * s) over the scores s of the declared scale, mapped to [0, 1] by the declared ends. Modes, one of
which a judge keeps to:

- *exact* (models that run here): the likelihood of every score string, end of turn included, under teacher forcing; the
  distribution is their softmax, so no top-k cut and no guess about tokens: "10" as one token or two gives the same
  score.
- *topk* (endpoints with logprobs): at temperature 1, the alternatives to the token that holds the score, merged by the
  score they spell; labels before it are gone through by their probability. Below a valid mass of 0.5 the case is
  unscored, not re-asked: a draw would be another measure. Scales beyond 9 need tokens that hold two digits, which is
  probed; where they are split, `auto` is sampled. Whether logprobs are those before temperature is probed once an
  endpoint (evidence `logprobs`).
- *sampled* (endpoints without): `samples` draws at temperature 1, top_p 1. Unreadable draws are left out and counted
  (`unparsable`), never 0; a fraction such as 2.5 counts as it stands; `standard_error` is s / sqrt(n), on the scale.

`auto` is exact here, topk at an endpoint whose first reply has logprobs, else sampled. Comparing scores of different
modes is refused.

The form shows the input where there is one (of a conversation all of its turns, the system message too), and the
reference or context where the criteria say "reference" or "context" (a case without it is then unscored); `shows` says
so outright. Of several criteria each gets steps, a form
and a score of its own in the evidence, and the score is their mean. With `reason: true` the model is asked why after
the score is fixed.

Logprobs of an endpoint without enough valid mass, or no readable draw, are an error, never a low score; the exact mode
compares the scores among themselves and tells the mass. An empty answer is shown as "(empty)". Judged well: what the
criterion names in plain words. Judged ill: facts (use correctness), and texts of the judge's own making, which language
models prefer (Liu et al., section 4). A small judge model grades form more than content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import EndpointError, ModelError, UserError
from harness.records import (
    Case,
    Completion,
    Failure,
    GenerationSettings,
    Generator,
    Judgement,
    Message,
    Metric,
    Models,
    Prompt,
    fingerprint,
)
from harness.suite.grammar import AnswersModel, GEvalSpec, OpenAIModel
from judges.forms import Parts, fill, prompt_text
from judges.graders import Endpoint, EndpointGrader, ExactGrader, Findings, Grade, Grader
from judges.grades import Scale
from judges.judging import Scored, judge_each

VERSION = 3
STEP_TOKENS, REASON_TOKENS = 400, 120
_STEP = re.compile(r"^\s*(?:(?:step\s*)?\d+[.):]|[-*•])\s*(?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """What is judged, and the steps by which. `name` is empty where there is but one."""

    text: str
    steps: tuple[str, ...]
    name: str = ""

    @property
    def numbered(self) -> str:
        """The steps as the form shows them."""
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, start=1))


class GEvalJudge:
    """One or several criteria on one scale, normalised to [0, 1], higher is better."""

    def __init__(
        self,
        name: str,
        grader: Grader,
        *,
        criteria: Sequence[Criterion],
        scale: Scale,
        shows: Sequence[str] | None = None,
        explainer: Generator | None = None,
    ) -> None:
        """Asks nothing yet.

        Args:
            name: The metric's.
            grader: What grades forms.
            criteria: At least one.
            scale: Lowest and highest score.
            shows: Of input, reference and context what every case must have and the form shows; left out, see the module.
            explainer: The same model, to be asked for a reason after the score; None asks for none.
        """
        self.metric = Metric(name=name, direction="higher")
        self._grader = grader
        self._criteria = tuple(criteria)
        self._scale = scale
        self._parts = Parts([criterion.text for criterion in criteria], shows)
        self._explainer = explainer
        self._forms = {True: prompt_text("geval_form.txt"), False: prompt_text("geval_form_text.txt")}
        self.steps_hash = steps_hash(criteria)

    @property
    def fingerprint(self) -> str:
        asked = [[criterion.name, criterion.text, criterion.numbered] for criterion in self._criteria]
        reason = prompt_text("geval_reason.txt") if self._explainer else None
        forms = [self._forms[True], self._forms[False]]
        return fingerprint(["geval", VERSION, self._grader.key, forms, asked, self._scale, self._parts.shows, reason])

    @property
    def description(self) -> dict[str, Any]:
        """For a run's record: all that the scores rest on."""
        criteria = {c.name or self.metric.name: {"criterion": c.text, "steps": list(c.steps)} for c in self._criteria}
        return {
            "kind": "geval", "version": VERSION, "scale": list(self._scale), "criteria": criteria,
            "steps_hash": self.steps_hash, "shows": list(self._parts.shows),
        }  # fmt: skip

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        needs = ("answer", *self._parts.needs)
        return judge_each(cases, self.metric.name, needs=needs, empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        forms = [[self._fill(criterion, case) for criterion in self._criteria] for case in cases]
        unique = list(dict.fromkeys(form for row in forms for form in row))
        grades = dict(zip(unique, self._grader.grade(unique), strict=True))
        reasons = self._reasons({form: grade for form, grade in grades.items() if not isinstance(grade, Failure)})
        return [self._combine([(form, grades[form]) for form in row], reasons) for row in forms]

    def _fill(self, criterion: Criterion, case: Case) -> str:
        values = {
            "criteria": criterion.text, "steps": criterion.numbered, "answer": (case.answer or "").strip() or "(empty)",
            "low": str(self._scale[0]), "high": str(self._scale[1]),
        }  # fmt: skip
        values |= self._parts.of(case)
        return fill(self._forms["input" in values], values)

    def _combine(
        self, grades: Sequence[tuple[str, Grade | Failure]], reasons: Mapping[str, dict[str, Any]]
    ) -> Scored | Failure:
        low, high = self._scale
        found: dict[str, dict[str, Any]] = {}
        for criterion, (form, grade) in zip(self._criteria, grades, strict=True):
            if isinstance(grade, Failure):
                where = f"{criterion.name}: " if criterion.name else ""
                return Failure(kind=grade.kind, message=f"{where}{grade.message}")
            raw, evidence = grade
            found[criterion.name] = {
                "score": (raw - low) / (high - low), "raw": raw, **evidence, **reasons.get(form, {}),
            }  # fmt: skip
        mean = sum(row["score"] for row in found.values()) / len(found)
        if len(self._criteria) == 1:
            [only] = found.values()
            del only["score"]
            return mean, None, {**only, "steps_hash": self.steps_hash}
        modes = [row.pop("mode") for row in found.values()]
        raw = sum(row["raw"] for row in found.values()) / len(found)
        return mean, None, {"raw": raw, "mode": modes[0], "criteria": found, "steps_hash": self.steps_hash}

    def _reasons(self, grades: Mapping[str, Grade]) -> dict[str, dict[str, Any]]:
        """For each form, what the model says about the score it finds likeliest; empty where nobody asked."""
        if self._explainer is None:
            return {}
        asked = prompt_text("geval_reason.txt")
        prompts = [
            Prompt(
                sample_id=form,
                messages=(
                    Message(role="user", content=form),
                    Message(role="assistant", content=_likeliest(evidence)),
                    Message(role="user", content=asked),
                ),
            )
            for form, (_, evidence) in grades.items()
        ]
        found = _complete(self._explainer, prompts, GenerationSettings(max_new_tokens=REASON_TOKENS))
        return {
            prompt.sample_id: {"reason": completion.text}
            if completion.error is None
            else {"reason": None, "reason_error": completion.error.message}
            for prompt, completion in zip(prompts, found, strict=True)
        }


def build_geval(
    name: str,
    spec: GEvalSpec,
    models: Models,
    *,
    steps_folder: Path | None = None,
    endpoints: dict[str, Findings] | None = None,
) -> GEvalJudge:
    """The judge of a suite's `kind: geval`. Steps that are not pinned are written by the judge model, once, and kept.

    `endpoints` is the memory, by key, of what was found out about endpoints; judges that share it share their probes.
    Raises ModelError when the model cannot be reached or writes no steps, UserError for a mode the model cannot do.
    """
    if isinstance(spec.model, AnswersModel):
        raise UserError(
            f"judge '{name}': a geval model must generate (got kind 'answers'). Use transformers or openai."
        )
    grader = _endpoint_grader(name, spec, models, {} if endpoints is None else endpoints)
    if grader is None:
        if spec.mode not in ("auto", "exact"):
            raise UserError(f"judge '{name}': mode '{spec.mode}' is for endpoints. Use 'exact' with kind transformers.")
        grader = ExactGrader(models.choice_scorer(spec.model), spec.scale)
    texts = spec.criteria if isinstance(spec.criteria, dict) else {"": spec.criteria}
    pinned = spec.steps if isinstance(spec.steps, dict) else {"": spec.steps} if spec.steps else {}
    criteria = [
        Criterion(
            name=key, text=text, steps=tuple(pinned.get(key) or _kept_steps(name, text, spec, models, steps_folder))
        )
        for key, text in texts.items()
    ]
    explainer = models.generator(spec.model) if spec.reason else None
    return GEvalJudge(name, grader, criteria=criteria, scale=spec.scale, shows=spec.shows, explainer=explainer)


def _endpoint_grader(name: str, spec: GEvalSpec, models: Models, endpoints: dict[str, Findings]) -> Grader | None:
    """The grader of an endpoint's model; None for a model that runs here."""
    if not isinstance(spec.model, OpenAIModel):
        return None
    if spec.mode == "exact":
        raise UserError(f"judge '{name}': mode 'exact' needs a model that runs here. Use 'auto' with kind openai.")
    if spec.mode == "topk" and spec.scale[0] < 0:
        raise UserError(
            f"judge '{name}': mode 'topk' reads digits, and scale {list(spec.scale)} has a sign. Use 'sampled'."
        )
    sampler = models.score_sampler(spec.model)
    findings = endpoints.setdefault(sampler.key, Findings())
    endpoint = Endpoint(sampler, workers=spec.model.concurrency, findings=findings)
    digits = fill(prompt_text("geval_digits.txt"), {"high": str(spec.scale[1])})
    return EndpointGrader(endpoint, spec.scale, samples=spec.samples, mode=spec.mode, digits=digits)


def steps_hash(criteria: Sequence[Criterion]) -> str:
    """16 hex digits that change with any step of any criterion."""
    text = "\n\n".join(criterion.numbered for criterion in criteria)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept_steps(name: str, criteria: str, spec: GEvalSpec, models: Models, folder: Path | None) -> list[str]:
    """The steps the judge model wrote for these criteria before, or writes now."""
    generator = models.generator(spec.model)
    values = {"criteria": criteria, "low": str(spec.scale[0]), "high": str(spec.scale[1])}
    request = fill(prompt_text("geval_steps.txt"), values)
    if folder is None:
        return write_steps(name, request, generator)
    path = folder / f"{fingerprint([VERSION, generator.key, request])[:32]}.json"
    if path.is_file():
        kept: list[str] = json.loads(path.read_text(encoding="utf-8"))["steps"]
        return kept
    steps = write_steps(name, request, generator)
    record = {"criteria": criteria, "scale": list(spec.scale), "model": generator.key, "steps": steps}
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return steps


def write_steps(name: str, request: str, generator: Generator) -> list[str]:
    """Asks the judge model for its evaluation steps, greedily. Raises ModelError when it writes none.

    Numbered or marked lines are steps; where no line is, two lines or more of at least three words each.
    """
    prompt = Prompt(sample_id="steps", messages=(Message(role="user", content=request),))
    [completion] = _complete(generator, [prompt], GenerationSettings(max_new_tokens=STEP_TOKENS))
    lines = [line.strip() for line in (completion.text or "").splitlines()]
    steps = [_STEP.sub("", line) for line in lines if _STEP.match(line)]
    plain = [line for line in lines if len(line.split()) >= 3]
    if not steps and len(plain) > 1:
        steps = plain
    if completion.error is not None:
        told = f"judge '{name}': its model could not be asked for evaluation steps ({completion.error.message})"
        raise EndpointError(told, kind=completion.error.kind)
    if not steps:
        wrote = (completion.text or "")[:80]
        raise ModelError(
            f"judge '{name}': the model wrote no evaluation steps (it wrote {wrote!r}). Pin them under 'steps:'."
        )
    return steps


def _complete(generator: Generator, prompts: Sequence[Prompt], settings: GenerationSettings) -> list[Completion]:
    """One completion a prompt, in order; where the model breaks down, those still open hold the reason."""
    found: dict[int, Completion] = {}
    try:
        for batch in generator.generate(prompts, settings):
            found.update(batch)
    except ModelError as error:
        failed = Completion(text=None, error=Failure(kind="model_failed", message=str(error)))
        return [found.get(index, failed) for index in range(len(prompts))]
    return [found[index] for index in range(len(prompts))]


def _likeliest(evidence: Mapping[str, Any]) -> str:
    distribution: Mapping[str, float] = evidence["distribution"]
    return max(distribution, key=distribution.__getitem__)
