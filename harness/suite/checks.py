"""What a suite must hold across its parts: names that are used are there, and no evaluation row is learnt from.

Works on whatever parts of a suite are valid in themselves, so that a mistake in one hides none in another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import Problem
from harness.suite.explain import quoted, suggest, wrong_name
from harness.suite.grammar import (
    LOSS,
    NAME,
    OF_ANSWERS,
    AnswersModel,
    AnyJudgeSpec,
    Bar,
    CandidateSpec,
    ChoiceSpec,
    CustomSpec,
    DataSpec,
    FewShot,
    GEvalSpec,
    PairwiseSpec,
    PerplexitySpec,
    Retrieval,
    RewardSpec,
    Rule,
    Split,
    TrainSpec,
    TransformersModel,
)
from harness.suite.lists import MAX_SWEEP, spell
from harness.suite.source import SECRET, Node, Place, YamlPath, find_node, iterate_scalars
from harness.suite.sweeps import sweep_names
from harness.suite.teachers import line_of_teachers, teacher_name
from harness.suite.template import TemplateMistake, check_template

LOWER_IS_BETTER = ("toxicity", "hallucination", "perplexity")
"""Kinds of judges whose scores count what is bad; all others score what is good."""

NOT_OF_ONE_ANSWER = ("pairwise", "perplexity", "mcq", "macro_f1")
"""Kinds of judges that need more than one answer by itself: an opponent's, likelihoods, or all answers at once."""

Mistake = tuple[YamlPath, str, str | None]
"""Where, what, and the word that may be meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The parts of a suite, each valid in itself or None; a section is None where it cannot be told what is in it."""

    data: DataSpec | None
    splits: Mapping[str, Split | None] | None
    candidates: Mapping[str, CandidateSpec | None] | None
    judges: Mapping[str, Any] | None
    baseline: str | None
    rules: Mapping[int, Rule]
    prompt: str | None
    blessed: Sequence[str]
    """Names of the blessed baselines beside the suite."""


def read_draft(plain: Mapping[str, Any], blessed: Sequence[str] = ()) -> Draft:
    """The valid parts of a suite in plain values, beside which there are blessed baselines of some names."""
    gate = plain.get("gate")
    gate = gate if isinstance(gate, dict) else {}
    rules = gate.get("rules")
    read = {i: _read(TypeAdapter(Rule), value) for i, value in enumerate(rules if isinstance(rules, list) else [])}
    baseline, prompt = gate.get("baseline"), plain.get("prompt")
    return Draft(
        data=_read(TypeAdapter(DataSpec), plain.get("data")),
        splits=_read_section(TypeAdapter(Split), plain.get("splits")),
        candidates=_read_section(TypeAdapter(CandidateSpec), plain.get("candidates")),
        judges=_read_section(TypeAdapter(AnyJudgeSpec), plain.get("judges")),
        baseline=baseline if isinstance(baseline, str) else None,
        rules={i: rule for i, rule in read.items() if rule is not None},
        prompt=prompt if isinstance(prompt, str) else None,
        blessed=blessed,
    )


def _read(adapter: TypeAdapter[Any], value: Any) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return None


def _read_section(adapter: TypeAdapter[Any], section: Any) -> dict[str, Any] | None:
    if not isinstance(section, dict) or not section:
        return None
    return {name: _read(adapter, value) for name, value in section.items()}


def find_problems(draft: Draft, root: Node) -> list[Problem]:
    """Every mistake across the parts of a suite."""
    found = [*_names(draft), *_splits(draft), *_candidates(draft), *_judges(draft), *_gate(draft), *_secrets(root)]
    problems = [find_node(root, path).spot.problem(path, message, suggestion) for path, message, suggestion in found]
    return [*problems, *_prompt(draft, root)]


# ------------------------------------------------------------------------------------------------------ names, secrets


def _names(draft: Draft) -> Iterator[Mistake]:
    sections = {"splits": draft.splits, "candidates": draft.candidates, "judges": draft.judges}
    for section, entries in sections.items():
        for name in entries or {}:
            if not NAME.match(name):
                yield (section, name), wrong_name(name), None


def _secrets(root: Node) -> Iterator[Mistake]:
    """Keys that stand in the file, wherever they stand. The value is never part of the message."""
    for path, node in iterate_scalars(root):
        if isinstance(node.value, str) and SECRET.search(node.value) and path[-1:] != ("api_key",):
            message = "must not hold a secret (got a text that looks like a key, not shown here). Use api_key: env:NAME"
            yield path, message, None


# --------------------------------------------------------------------------------------------------- splits and prompt


def _splits(draft: Draft) -> Iterator[Mistake]:
    if draft.splits is None:
        return
    splits = {name: split for name, split in draft.splits.items() if split is not None}
    total = math.fsum(split.share or 0 for split in splits.values())
    if total > 1 + 1e-9:
        shares = " + ".join(f"{split.share:g}" for split in splits.values() if split.share)
        yield ("splits",), f"must have shares of at most 1 together (got {shares} = {total:g})", None
    if len(splits) == len(draft.splits) and not any(split.use == "evaluation" for split in splits.values()):
        uses = ", ".join(f"{name}: {split.use}" for name, split in splits.items())
        yield ("splits",), f"must hold a split that candidates answer, without 'use' (got {uses})", None


def _prompt(draft: Draft, root: Node) -> Iterator[Problem]:
    """The prompt compiles, and uses the data."""
    if draft.prompt is None:
        return
    node = find_node(root, ("prompt",))
    try:
        variables = check_template(draft.prompt)
    except TemplateMistake as mistake:
        place = node.spot
        if node.style in ("|", ">") and mistake.line is not None:
            place = Place(place.source, place.line + mistake.line, 1)
        yield place.problem(("prompt",), str(mistake))
        return
    if draft.data is not None and draft.data.fields.messages is not None:
        message = (
            "must not stand beside conversations (data.fields.messages), whose turns are given as they are. Use 'system' for "
            "an instruction, and a model's 'chat_template' for what stands around the turns"
        )
        yield node.spot.problem(("prompt",), message)
    elif not variables and draft.data is not None:
        message = "must use the row, such as with {{ input }} (got the same text for every row)"
        yield node.spot.problem(("prompt",), message)


# ---------------------------------------------------------------------------------------------------------- candidates


def _candidates(draft: Draft) -> Iterator[Mistake]:
    for name, spec in (draft.candidates or {}).items():
        if spec is None:
            continue
        path = ("candidates", name)
        if isinstance(spec.prompting, FewShot | Retrieval):
            given = "split" in spec.prompting.model_fields_set
            place = (*path, "prompting", "split") if given else (*path, "prompting")
            yield from _training_split(draft, place, spec.prompting.split, "examples would give answers away")
        if spec.train is not None:
            for train in list(spec.train.variants.values()) or [spec.train]:
                yield from _base(draft, (*path, "train", "base"), name, train)
                yield from _training_rows(draft, (*path, "train"), train)
                yield from _evaluated(draft, (*path, "train"), train)
                yield from _objective(draft, (*path, "train"), train)
            yield from _teacher(draft, (*path, "train"), name, spec.train)
            yield from _sweep((*path, "train"), spec.train)


def _training_split(draft: Draft, path: YamlPath, name: str, why: str) -> Iterator[Mistake]:
    """A split that is there, and from which a candidate may learn."""
    if draft.splits is None:
        return
    training = [key for key, split in draft.splits.items() if split is not None and split.use == "training"]
    if name not in draft.splits:
        what = f"must name a split with 'use: training': {quoted(training)}" if training else NO_TRAINING_SPLIT
        yield path, f"{what} (got {name!r})", suggest(name, training)
    elif (split := draft.splits[name]) is not None and split.use != "training":
        way_out = f"Name {quoted(training)}" if training else "Give a split 'use: training'"
        yield path, f"must name a split with 'use: training' (got {name!r}, for {split.use}: {why}). {way_out}", None


NO_TRAINING_SPLIT = "must name a split with 'use: training', and there is none"


def _objective(draft: Draft, path: YamlPath, spec: TrainSpec) -> Iterator[Mistake]:
    """A candidate learns to answer, and is rewarded by judges of this suite that can look at any answer."""
    if spec.objective == "reward":
        message = "must make a model that answers (got 'reward', which makes one that scores). Write it as a judge: "
        yield (*path, "objective"), message + "judges: NAME: {kind: reward, train: {…}}", None
    if draft.judges is None:
        return
    for name, weight in spec.rewards.items():
        place = (*path, "reward") if isinstance(spec.reward, str) else (*path, "reward", name)
        if name not in draft.judges:
            message = f"must be a judge of this suite: {quoted(draft.judges)} (got {name!r})"
            yield place, message, suggest(name, draft.judges)
        elif (judge := draft.judges[name]) is not None:
            yield from _rewarding(place, name, judge, weight)


def _rewarding(place: YamlPath, name: str, judge: Any, weight: float) -> Iterator[Mistake]:
    if judge.kind in NOT_OF_ONE_ANSWER:
        yield place, f"must be a judge that scores one answer by itself (got {name!r}, of kind {judge.kind})", None
        return
    lower = _lower_is_better(judge)
    if not weight or (weight < 0) != lower:
        sign = "negative" if lower else "positive"
        message = (
            f"must have a {sign} weight: {name!r} is better when {'lower' if lower else 'higher'} (got {weight:g})"
        )
        yield place, f"{message}. Write {name}: {'-' if lower else ''}{abs(weight) or 1:g}", None


def _training_rows(draft: Draft, path: YamlPath, spec: TrainSpec) -> Iterator[Mistake]:
    if spec.preferences is not None:  # which it learns from instead
        return
    if spec.split is not None:
        why = "a model trained on it could not be judged by it"
        yield from _training_split(draft, (*path, "split"), spec.split, why)
        return
    if draft.splits is None or None in draft.splits.values():
        return
    training = [key for key, split in draft.splits.items() if split is not None and split.use == "training"]
    if not training:
        yield path, "must have a split to train on, with 'use: training' (got none in 'splits')", None
    elif len(training) > 1:
        yield path, f"must name its 'split', as there are several for training: {quoted(training)}", None


def _base(draft: Draft, path: YamlPath, name: str, spec: TrainSpec) -> Iterator[Mistake]:
    """The base of a training is a plain transformers model of this suite, which also rules out every cycle."""
    candidates = draft.candidates or {}
    usable = [key for key, other in candidates.items() if other is not None and _is_base(other)]
    if spec.base not in candidates:
        message = f"must name a candidate to train (got {spec.base!r}). There {_are(usable)}"
        yield path, message, suggest(spec.base, usable)
        return
    base = candidates[spec.base]
    if base is None or _is_base(base):
        return
    if spec.base == name:
        got = "itself"
    elif base.train is not None:
        got = f"{spec.base!r}, which is itself trained"
    elif isinstance(base.model, TransformersModel):
        got = f"{spec.base!r}, which has an adapter already"
    else:
        got = f"{spec.base!r}, of kind {base.model.kind if base.model else 'none'}"
    yield path, f"must be a candidate of kind transformers without an adapter (got {got}). There {_are(usable)}", None


def _is_base(spec: CandidateSpec) -> bool:
    return isinstance(spec.model, TransformersModel) and spec.model.adapter is None


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {quoted(names, 'and')}" if names else "is none"


def _teacher(draft: Draft, path: YamlPath, name: str, spec: TrainSpec) -> Iterator[Mistake]:
    """The teacher is one candidate, is not taught by its own student, and its answers are kept by judges that can tell."""
    candidates = draft.candidates or {}
    if isinstance(spec.teacher, str):
        yield from _one_candidate(draft, (*path, "teacher"), spec.teacher)
        spelt = {one: other for key, other in candidates.items() for one in _spelt_out(key, other)}
        if any(one in line_of_teachers(spelt, one) for one in _spelt_out(name, candidates[name])):
            got = "itself" if spec.teacher == name else f"{spec.teacher!r}, which learns from {name!r}"
            yield (*path, "teacher"), f"must be a candidate that does not learn from this one (got {got})", None
    elif spec.teacher is not None and teacher_name(name) in candidates:
        message = (
            f"must be called by name, as there is a candidate {teacher_name(name)!r}: teacher: {teacher_name(name)}"
        )
        yield (*path, "teacher"), message, None
    for metric, bar in spec.keep.items():
        yield from _bar(draft, (*path, "keep", metric), metric, bar)


def _spelt_out(name: str, spec: CandidateSpec | None) -> list[str]:
    """The names of a candidate, of which a sweep has several."""
    return sweep_names(name, spec) if spec is not None else [name]


def _bar(draft: Draft, path: YamlPath, metric: str, bar: Bar) -> Iterator[Mistake]:
    if draft.judges is None:
        return
    if metric not in draft.judges:
        yield path, f"must be a judge of this suite: {quoted(draft.judges)}", suggest(metric, draft.judges)
        return
    judge = draft.judges[metric]
    if isinstance(judge, PairwiseSpec | PerplexitySpec | ChoiceSpec):
        yield path, f"must be a judge that scores an answer by itself (got {metric!r}, of kind {judge.kind})", None
    elif judge is not None:
        yield from _fits(path, Rule(metric=metric, at_least=bar.at_least, at_most=bar.at_most), judge)


def _evaluated(draft: Draft, path: YamlPath, spec: TrainSpec) -> Iterator[Mistake]:
    """There is a validation split, and the judges of checkpoints are the suite's and can judge one answer by itself."""
    if spec.evaluate_every is None:
        return
    if draft.splits is not None and None not in draft.splits.values():
        names = [key for key, split in draft.splits.items() if split is not None and split.use == "validation"]
        if not names:
            yield path, "must have a split to evaluate on, with 'use: validation' (got none in 'splits')", None
        elif spec.validation is None and len(names) > 1:
            yield path, f"must name its 'validation' split, as there are several: {quoted(names)}", None
        elif spec.validation is not None and spec.validation not in names:
            message = f"must name a split with 'use: validation': {quoted(names)} (got {spec.validation!r})"
            yield (*path, "validation"), message, suggest(spec.validation, names)
    if draft.judges is None:
        return
    able = [name for name, judge in draft.judges.items() if judge is not None and judge.kind not in NOT_OF_ONE_ANSWER]
    wanted = {(*path, "evaluate_with", i): name for i, name in enumerate(spec.evaluate_with or [])}
    wanted |= {(*path, "select"): spec.select} if spec.select else {}
    stops = spec.early_stopping.metric if spec.early_stopping else None
    wanted |= {(*path, "early_stopping", "metric"): stops} if stops else {}
    for place, name in wanted.items():
        choices = able if "evaluate_with" in place else [LOSS, *able]
        if name not in choices and draft.judges.get(name, spec) is not None:
            why = ", which is no judge of a single answer" if name in draft.judges else ""
            message = f"must be {quoted(choices) or 'a judge of single answers'} (got {name!r}{why})"
            yield place, message, suggest(name, choices)
    if LOSS in draft.judges:
        message = (
            "must have another name where trainings are evaluated (got 'loss', which is the validation loss there)"
        )
        yield ("judges", LOSS), message, None


def _sweep(path: YamlPath, spec: TrainSpec) -> Iterator[Mistake]:
    for option, values in spec.lists.items():
        twice = [value for value, count in Counter(map(spell, values)).items() if count > 1]
        if twice:
            yield (*path, option), f"must not hold the same value twice (got {twice[0]} again)", None
    size = math.prod(len(values) for values in spec.lists.values())
    if size > MAX_SWEEP:
        yield path, f"must make at most {MAX_SWEEP} candidates (got a sweep of {size})", None


# ---------------------------------------------------------------------------------------------------- judges and gate


def _evaluation_splits(draft: Draft) -> list[str] | None:
    """Names of evaluation splits; None where it cannot be told."""
    if draft.splits is None or None in draft.splits.values():
        return None
    return [name for name, split in draft.splits.items() if split is not None and split.use == "evaluation"]


def _judges(draft: Draft) -> Iterator[Mistake]:
    for name, spec in (draft.judges or {}).items():
        for index, split in enumerate(spec.splits or [] if spec is not None else []):
            yield from _evaluation_split(draft, ("judges", name, "splits", index), split)
        if isinstance(spec, PairwiseSpec):
            yield from _opponent(draft, ("judges", name), spec)
        if isinstance(spec, RewardSpec) and spec.train is not None:
            yield from _base(draft, ("judges", name, "train", "base"), name, spec.train)
            if name in (draft.candidates or {}):
                yield ("judges", name), "must have another name than a candidate, for both are trained", None


def _opponent(draft: Draft, path: YamlPath, spec: PairwiseSpec) -> Iterator[Mistake]:
    """A pairwise judge has somebody to compare with."""
    if spec.against is None:
        if draft.baseline is None or draft.baseline in draft.blessed:
            got = "no gate.baseline" if draft.baseline is None else "a gate.baseline that answers nothing here"
            yield path, f"must say whom it compares 'against': a candidate, or all (got none, and {got})", None
    elif spec.against != "all":
        yield from _one_candidate(draft, (*path, "against"), spec.against, or_else=", or 'all'")


def _evaluation_split(draft: Draft, path: YamlPath, name: str) -> Iterator[Mistake]:
    names = _evaluation_splits(draft)
    if names is not None and name not in names:
        use = draft.splits[name] if draft.splits and name in draft.splits else None
        got = f"{name!r}, for {use.use}" if use is not None else repr(name)
        yield path, f"must be a split that candidates answer: {quoted(names)} (got {got})", suggest(name, names)


def _gate(draft: Draft) -> Iterator[Mistake]:
    yield from _baseline(draft)
    seen: dict[tuple[Any, ...], int] = {}
    for index, rule in draft.rules.items():
        path = ("gate", "rules", index)
        if rule.metric is not None:
            yield from _metric(draft, path, rule)
        yield from _rule_split(draft, path, rule)
        yield from _rule_slices(draft, path, rule)
        if rule.condition == "cost" or (rule.metric == "cost" and "cost" not in (draft.judges or {})):
            yield from _prices(draft, (*path, "cost" if rule.condition == "cost" else "metric"))
        if rule.is_paired and rule.metric in OF_ANSWERS and rule.metric not in (draft.judges or {}):
            yield from _efforts_of_baseline(draft, (*path, "metric"), rule.metric)
        first = seen.setdefault(_about(rule), index)
        if first != index:
            message = f"must differ from rules[{first}] (got {rule.condition!r} for the same metric and samples twice)"
            yield path, message, None


def _efforts_of_baseline(draft: Draft, path: YamlPath, metric: str) -> Iterator[Mistake]:
    """What answers took is known of those that are asked for in the same run: not of recorded ones, nor of blessed scores."""
    spec = (draft.candidates or {}).get(draft.baseline or "")
    recorded = spec is not None and isinstance(spec.model, AnswersModel)
    if recorded or draft.baseline in draft.blessed:
        has = "recorded answers" if recorded else "blessed scores"
        message = f"must be known of the baseline (got {metric!r}, which the {has} of {draft.baseline!r} do not hold)"
        yield path, f"{message}. Name a baseline that answers in the run", None


def _about(rule: Rule) -> tuple[Any, ...]:
    """What a rule is about, but for its amount: no two rules of a gate are about the same."""
    return (rule.metric, rule.split, rule.condition, rule.quantile, repr(rule.where), rule.each, repr(rule.must_pass))


def _rule_slices(draft: Draft, path: YamlPath, rule: Rule) -> Iterator[Mistake]:
    """`where` and `each` name slicing columns of the rows that the rule looks at."""
    if draft.data is None or draft.splits is None:
        return
    split = draft.splits.get(rule.split or "")
    known = draft.data.fields.slices if split is None or split.fields is None else split.fields.slices
    asked: list[tuple[YamlPath, str]] = [((*path, "where", column), column) for column in rule.where or {}]
    asked += [((*path, "each"), rule.each)] if rule.each is not None else []
    for place, column in asked:
        if column not in known:
            there = quoted(known) if known else "there is none yet"
            message = f"must be a column of 'data.fields.slices': {there} (got {column!r}). Add it there"
            yield place, message, suggest(column, known)


def _prices(draft: Draft, path: YamlPath) -> Iterator[Mistake]:
    """Every candidate that a rule on costs decides about has a price."""
    free = [
        name
        for name, spec in (draft.candidates or {}).items()
        if spec is not None and name != draft.baseline and getattr(spec.model, "price", None) is None
    ]
    if free:
        message = f"must be about candidates with a 'price' (got {quoted(free, 'and')} without). Give their model one"
        yield path, message, None


def _baseline(draft: Draft) -> Iterator[Mistake]:
    """A candidate, or a blessed baseline; a name that could be either is refused, for a later file must not redefine it."""
    if draft.baseline is None:
        return
    if draft.baseline not in draft.blessed:
        files = f", or a blessed baseline: {quoted(draft.blessed)}" if draft.blessed else ""
        yield from _one_candidate(draft, ("gate", "baseline"), draft.baseline, files, also=draft.blessed)
    elif draft.baseline in (draft.candidates or {}):
        message = f"must be either a candidate or a blessed baseline (got {draft.baseline!r}, of which there are both)"
        yield ("gate", "baseline"), f"{message}. Rename the candidate, or the file in 'baselines'", None


def _one_candidate(
    draft: Draft, path: YamlPath, wanted: str, or_else: str = "", also: Sequence[str] = ()
) -> Iterator[Mistake]:
    """A name that stands for one candidate, be it one of a sweep; `also` are other names that may be meant."""
    if draft.candidates is None:
        return
    specs = {name: spec for name, spec in draft.candidates.items() if spec is not None}
    sweeps = {name: sweep_names(name, spec) for name, spec in specs.items() if spec.train and spec.train.variants}
    names = [one for name in draft.candidates for one in sweeps.get(name, [name])]
    if wanted in sweeps:
        yield path, f"must be one candidate (got {wanted!r}, a sweep). Name {quoted(sweeps[wanted])}", None
    elif wanted not in names:
        yield path, f"must be a candidate: {quoted(names)}{or_else} (got {wanted!r})", suggest(wanted, [*names, *also])


def _metric(draft: Draft, path: YamlPath, rule: Rule) -> Iterator[Mistake]:
    """The metric is a judge of this suite, and the rule asks for what its scale and direction allow."""
    judges = draft.judges
    if judges is None or rule.metric is None:
        return
    if rule.metric not in judges:
        if rule.metric in OF_ANSWERS:
            yield from _direction((*path, rule.condition), rule, lower=True)
            return
        if suggest(rule.metric, [name for name, spec in judges.items() if spec is None]):
            return  # the judge itself is misspelt, which is told there
        message = f"must be a judge of this suite: {quoted(judges)} (got {rule.metric!r})"
        yield (*path, "metric"), message, suggest(rule.metric, judges)
        return
    judge = judges[rule.metric]
    if judge is not None:
        yield from _fits(path, rule, judge)


def _fits(path: YamlPath, rule: Rule, judge: Any) -> Iterator[Mistake]:
    """The rule asks for what the judge's direction and scale allow."""
    yield from _direction((*path, rule.condition), rule, lower=_lower_is_better(judge))
    yield from _within_scale((*path, rule.condition), rule, judge)


def _lower_is_better(judge: Any) -> bool:
    return judge.direction == "lower" if isinstance(judge, CustomSpec) else judge.kind in LOWER_IS_BETTER


def _direction(path: YamlPath, rule: Rule, *, lower: bool) -> Iterator[Mistake]:
    if rule.condition == ("at_least" if lower else "at_most"):
        better, use = ("lower", "at_most") if lower else ("higher", "at_least")
        yield path, f"contradicts the metric: {rule.metric!r} is better when {better}. Use {use!r}", None


def _within_scale(path: YamlPath, rule: Rule, judge: Any) -> Iterator[Mistake]:
    """Every built-in metric runs from 0 to 1, but perplexity, which runs from 1 without end."""
    value = getattr(rule, rule.condition)
    if isinstance(judge, PerplexitySpec) and rule.condition == "at_most":
        if value < 1:
            yield path, f"must be 1 or more, the scale of {rule.metric!r} (got {value:g})", None
        return
    if 0 <= value <= 1 or isinstance(judge, PerplexitySpec):
        return
    message = f"must be from 0 to 1, the scale of {rule.metric!r} (got {value:g})"
    if isinstance(judge, GEvalSpec) and judge.scale[0] <= value <= judge.scale[1]:
        low, high = judge.scale
        message += f". {value:g} on the judge's own scale of {low} to {high} is {(value - low) / (high - low):g}"
    yield path, message, None


def _rule_split(draft: Draft, path: YamlPath, rule: Rule) -> Iterator[Mistake]:
    names = _evaluation_splits(draft)
    if rule.split is not None:
        yield from _evaluation_split(draft, (*path, "split"), rule.split)
    elif names is not None and len(names) > 1 and "test" not in names:
        yield path, f"must name its 'split', as there are several: {quoted(names)}", None
        return
    split = rule.split or ("test" if names and "test" in names else names[0] if names else None)
    judge = (draft.judges or {}).get(rule.metric or "")
    judged = judge.splits if judge is not None else None
    if names and judged and split in names and split not in judged and set(judged) <= set(names):
        place = (*path, "split") if rule.split is not None else path
        yield place, f"must be a split that {rule.metric!r} judges: {quoted(judged)} (got {split!r})", None
