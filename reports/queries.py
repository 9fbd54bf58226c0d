"""From the store to the report's view models: the last place that knows the store, the first that knows the page.

Every figure comes from `harness.deciding`, so that leaderboard, gate and report cannot differ. Splits, candidates and
metrics keep the order of the suite except where a table says that it is sorted. Nothing here formats a number or writes
HTML.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.deciding.comparison import Flip, compare, estimate, flips, leaderboard, rank_sets, refused, sign
from harness.deciding.corrections import run_corrections
from harness.deciding.cuts import Cut, cut_of, gate_rules
from harness.deciding.efforts import price_of
from harness.deciding.preferences import run_preferences
from harness.deciding.scores import Column, Scores, SplitScores
from harness.deciding.sides import Side, scores_of_both, wanted_metrics
from harness.deciding.slices import MOST_VALUES, slice_differences
from harness.deciding.wording import driver_sentence, multiplicity_sentence, noise_sentence
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Answer, Calibration, Comparison, Judgement, Metric, Outcome, Run, Sample, Verdict
from harness.store import Store
from harness.store.calibrations import by_metric
from reports.reliability import by_people, of_card
from reports.samples import snippet
from reports.tradeoffs import trade_off, win_table
from reports.trainings import sweeps, worst_answers
from reports.views import (
    Board,
    BoardRow,
    Cell,
    Effort,
    Flips,
    HistoryRow,
    JudgeCard,
    Move,
    Reliability,
    Report,
    ReportSample,
    SliceCell,
    SliceRow,
    SliceTable,
    WorseSlice,
)

CONFIDENCE = 0.95
"""Of the report's own intervals, two-sided; a verdict brings its own."""
OUTCOMES: tuple[Outcome, ...] = ("pass", "inconclusive", "incomplete", "fail")
"""What may ship stands first."""
BINS = 10
MOVES = 5
"""Drops and gains listed a candidate and metric."""

DEFINITIONS: Mapping[str, str] = {
    "entailment": "Probability that the reference (or the context) entails the whole answer, by an NLI model.",
    "correctness": "How far reference and answer entail each other, sentence by sentence, by an NLI model.",
    "hallucination": "Share of the answer that is contradicted or, given a context, unsupported, sentence by sentence.",
    "context_relevance": "How well the retrieved passages address the question, by sentence embeddings; their mean.",
    "context_recall": "How much of the reference the retrieved passages support, sentence by sentence.",
    "faithfulness": "Share of the answer that the retrieved passages support, sentence by sentence.",
    "relevancy": "How well the answer addresses the question, by sentence embeddings; evasion and echo cost.",
    "toxicity": "Probability that the answer is harmful or offensive; its worst sentence counts.",
    "geval": "A language model grades the answer on a scale; each grade is weighted by its probability.",
    "pairwise": "Which of two answers a language model prefers, asked in both orders; 0.5 is the opponent's own score.",
    "reward": "What a model trained on preferences gives the answer: the chance to be preferred to an average one.",
    "rouge": "Words and word order shared with the reference (ROUGE-L).",
    "bleu": "Word n-grams shared with the reference (sentence BLEU).",
    "chrf": "Character n-grams shared with the reference (chrF).",
    "exact_match": "1 where the answer equals the reference, else 0.",
    "token_f1": "F1 of the words shared with the reference.",
    "regex": "1 where the answer matches a pattern, else 0.",
    "json_schema": "1 where the answer is JSON that a schema accepts, else 0.",
    "perplexity": "Perplexity of the reference under the candidate, weighted by tokens over the samples.",
    "mcq": "1 where the candidate finds the right choice likeliest, by log-likelihood over length, else 0.",
    "classification": "1 where the answer names the right label, else 0; an answer without a label is wrong.",
    "macro_f1": "Mean over the labels of F1; an answer without a label is a miss of its target.",
    "custom": "What a Python function of the suite's author, or of an installed package, makes of the answer.",
}


def load_report(
    store: Store,
    run_ids: Sequence[str],
    *,
    cards: Sequence[Calibration] | None = None,
    blessed: Mapping[tuple[str, str], str] | None = None,
) -> Report:
    """The report on the first run; further runs appear in its history.

    Args:
        store: What it is made from.
        run_ids: At least one.
        cards: The calibration cards to show where they fit; left out, all that are known.
        blessed: By run and candidate, the name of the baseline that it was blessed as: marked in the history.

    Raises:
        UserError: If no run is named, or one is not in the store.
        NothingEvaluatedError: If the first run holds no judgements.
    """
    if not run_ids:
        raise UserError("'run' must name at least one run (got none). 'muster runs' lists them.")
    runs = list({run.id: run for run in map(store.run, run_ids)}.values())
    run = runs[0]
    scores = Scores.from_rows(store.scores(run.id), store.modes(run.id))
    judged = store.judgements_unread(run.id)
    judgements = [judgement for judgement, _ in judged]
    if not scores.splits or not judgements:
        raise NothingEvaluatedError(f"run {run.id} holds no judgements, so there is nothing to report. Run it again.")
    verdicts = tuple(sorted(store.verdicts(run.id), key=lambda verdict: OUTCOMES.index(verdict.outcome)))
    candidates = tuple(name for name in run.candidates if name in scores.candidates)
    metrics = tuple(
        metric for metric in run.metrics if any(metric.name in here.metrics for here in scores.splits.values())
    )
    baseline, declared = _baseline(run, verdicts, candidates)
    known_cards = store.calibrations() if cards is None else cards
    primary = _primary(run, metrics)
    answers = _by_sample(store.answers(run.id))
    prices = {name: price_of(run, name) for name in candidates}
    boards = tuple(
        _board(scores, split, metrics, candidates, baseline, primary, answers, prices) for split in scores.splits
    )
    tables, worse, compared = _slices(scores, metrics, candidates, baseline)
    samples = _samples(store.samples(run.id), answers, judged, baseline, metrics, tuple(scores.splits))
    trainings = tuple(store.trainings(run.id))
    return Report(
        run=run,
        baseline=baseline,
        declared_baseline=declared,
        candidates=candidates,
        metrics=metrics,
        splits=tuple(scores.splits),
        verdicts=verdicts,
        certificate=store.certificate(run.id),
        boards=boards,
        preferences=tuple(run_preferences(store, run, CONFIDENCE)),
        corrections=tuple(run_corrections(store, run, scores, known_cards, baseline, CONFIDENCE)),
        slices=tables,
        worse_slices=worse,
        slice_comparisons=compared,
        drivers=_drivers(scores, worse, baseline),
        flips=_all_flips(run, scores, metrics, candidates, baseline, {s.sample.id: s.sample.input for s in samples}),
        samples=samples,
        judges=_judge_cards(run, metrics, judgements, by_metric(run.judges, known_cards)),
        trainings=trainings,
        sweeps=sweeps(boards, baseline),
        worst=worst_answers(trainings, samples, next(metric for metric in metrics if metric.name == boards[0].primary)),
        history=_history(store, runs, metrics, blessed or {}) if len(runs) > 1 else (),
    )


def load_comparison(
    store: Store,
    first: Side,
    second: Side,
    *,
    metrics: Sequence[str] = (),
    cards: Sequence[Calibration] | None = None,
) -> Report:
    """The report on two candidates alone, of one run or of two, the second as what the first is compared with.

    It has no verdicts, trainings and history. Two runs are paired by sample; what different judges scored is left out.

    Args:
        store: What it is made from.
        first: The candidate that is looked at.
        second: What it is compared with.
        metrics: Only these; left out, all that the same judge scored on both sides.
        cards: The calibration cards to show where they fit; left out, all that are known.

    Raises:
        UserError: If a wanted metric was not judged by the same judge on both sides, or no metric was.
        NothingEvaluatedError: If no sample was judged on either side.
    """
    wanted = wanted_metrics(first.run, second.run, metrics)
    scores, candidate, baseline = scores_of_both(store, first, second)
    if not scores.splits:
        raise NothingEvaluatedError(f"{first.label} and {second.label} have no judgements. Run them again.")
    shared = tuple(m for m in wanted if any(m.name in here.metrics for here in scores.splits.values()))
    names = (baseline, candidate)
    answers: list[Answer] = []
    judged: list[tuple[Judgement, str]] = []
    samples: dict[tuple[str, str], Sample] = {}
    for side, name in ((first, candidate), (second, baseline)):
        answers += [replace(answer, candidate=name) for answer in store.answers(side.run.id, side.candidate)]
        ours = store.judgements_unread(side.run.id, side.candidate)
        judged += [(replace(judgement, candidate=name), evidence) for judgement, evidence in ours]
        samples |= {(s.split, s.id): s for s in store.samples(side.run.id) if (s.split, s.id) not in samples}
    known = {metric.name for metric in shared}
    judged = [(judgement, evidence) for judgement, evidence in judged if judgement.metric in known]
    judgements = [judgement for judgement, _ in judged]
    by_sample = _by_sample(answers)
    primary = _primary(first.run, shared)
    prices = {candidate: price_of(first.run, first.candidate), baseline: price_of(second.run, second.candidate)}
    boards = tuple(
        _board(scores, split, shared, names, baseline, primary, by_sample, prices)
        for split, here in scores.splits.items()
        if known & set(here.metrics)
    )
    tables, worse, compared = _slices(scores, shared, names, baseline)
    views = _samples(list(samples.values()), by_sample, judged, baseline, shared, tuple(scores.splits))
    texts = {view.sample.id: view.sample.input for view in views}
    return Report(
        run=first.run,
        baseline=baseline,
        declared_baseline=False,
        candidates=names,
        metrics=shared,
        splits=tuple(scores.splits),
        verdicts=(),
        certificate=None,
        boards=boards,
        preferences=(),
        corrections=(),
        slices=tables,
        worse_slices=worse,
        slice_comparisons=compared,
        drivers=_drivers(scores, worse, baseline),
        flips=_all_flips(first.run, scores, shared, names, baseline, texts),
        samples=views,
        judges=_judge_cards(
            first.run, shared, judgements, by_metric(first.run.judges, store.calibrations() if cards is None else cards)
        ),
        trainings=(),
        sweeps=(),
        worst=(),
        history=(),
    )


# -------------------------------------------------------------------------------------------- who is compared with whom


def _suite_part(run: Run, *path: str) -> Any:
    """A part of the resolved suite kept in the run's record, or None."""
    value: Any = run.record.get("suite")
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _baseline(run: Run, verdicts: Sequence[Verdict], candidates: Sequence[str]) -> tuple[str | None, bool]:
    """The baseline that verdicts or the gate name; else the first of several candidates, which is then not declared."""
    named = [verdict.baseline for verdict in verdicts] + [_suite_part(run, "gate", "baseline")]
    declared = next((name for name in named if name in candidates), None)
    if declared is not None:
        return declared, True
    return (candidates[0] if len(candidates) > 1 else None), False


def _primary(run: Run, metrics: Sequence[Metric]) -> str:
    """The metric that orders the leaderboard: that of the gate's first rule, else the suite's first."""
    names = [metric.name for metric in metrics]
    ruled = (rule.get("metric") for rule in gate_rules(run))
    return next((name for name in ruled if name in names), names[0])


# ---------------------------------------------------------------------------------------------------------- leaderboard


def _board(
    scores: Scores,
    split: str,
    metrics: Sequence[Metric],
    candidates: Sequence[str],
    baseline: str | None,
    primary: str,
    answers: Mapping[str, Mapping[str, Answer]],
    prices: Mapping[str, tuple[float, float] | None],
) -> Board:
    here = scores.splits[split]
    judged = [metric for metric in metrics if metric.name in here.metrics]
    ranks = {m.name: rank_sets(scores, m, split, np.random.default_rng(0), candidates, CONFIDENCE) for m in judged}
    if len(candidates) < 2:
        ranks = {}
    tops = {metric.name: _top(here, metric) for metric in judged}
    rows = [
        BoardRow(
            candidate=row.candidate,
            is_baseline=row.candidate == baseline,
            cells=tuple(
                Cell(
                    metric=metric,
                    estimate=row.estimates[metric.name],
                    comparison=_against(scores, metric, row.candidate, baseline, split),
                    ranks=ranks.get(metric.name, {}).get(row.candidate),
                    histogram=_histogram(here.column(row.candidate, metric.name), metric, tops[metric.name]),
                    top=tops[metric.name],
                )
                for metric in judged
            ),
            effort=_effort([answers.get(i, {}).get(row.candidate) for i in here.ids], prices.get(row.candidate)),
        )
        for row in leaderboard(scores, judged, candidates, [split], CONFIDENCE)
    ]
    first = next((metric for metric in judged if metric.name == primary), judged[0])
    rows.sort(key=lambda row: _standing(row, first))
    by_name = {name: place for name, place in ranks.get(first.name, {}).items()}
    return Board(
        split=split,
        samples=len(here.ids),
        clusters=None if here.clusters is None else len(set(here.clusters.tolist())),
        primary=first.name,
        rows=tuple(rows),
        leaders=tuple(name for name in candidates if by_name.get(name, (0, 0))[0] == 1),
        trade_off=trade_off(rows, first),
        wins=tuple(
            table
            for metric in [first, *(metric for metric in judged if metric is not first)]
            if (table := win_table(scores, metric, split, [row.candidate for row in rows])) is not None
        ),
    )


def _standing(row: BoardRow, metric: Metric) -> float:
    mean = next(cell.estimate.mean for cell in row.cells if cell.metric.name == metric.name)
    return float("inf") if mean is None else -sign(metric) * mean


def _against(scores: Scores, metric: Metric, candidate: str, baseline: str | None, split: str) -> Comparison | None:
    if baseline is None or candidate == baseline:
        return None
    return compare(scores, metric, candidate, baseline, split, CONFIDENCE)


def _top(here: SplitScores, metric: Metric) -> float:
    """The upper end of the metric's scale; of one without end, the largest score there is."""
    if math.isfinite(metric.high):
        return metric.high
    columns = [column for (_, name), column in here.columns.items() if name == metric.name]
    return max((float(c.values[c.scored].max()) for c in columns if c.scored.any()), default=metric.low + 1)


def _histogram(column: Column, metric: Metric, top: float) -> tuple[int, ...]:
    counts, _ = np.histogram(column.values[column.scored], bins=BINS, range=(metric.low, max(top, metric.low + 1e-9)))
    return tuple(int(count) for count in counts)


def _effort(answers: Sequence[Answer | None], price: tuple[float, float] | None) -> Effort:
    found = [answer.completion for answer in answers if answer is not None]
    fine = [completion for completion in found if completion.error is None]
    seconds = [completion.seconds for completion in fine if completion.seconds is not None]
    tokens = [(c.prompt_tokens, c.completion_tokens) for c in fine]
    costs = [price[0] * a + price[1] * b for a, b in tokens if a is not None and b is not None] if price else []
    return Effort(
        answers=len(fine),
        failed=len(answers) - len(fine),
        cut=sum(completion.finish_reason == "length" for completion in fine),
        prompt_tokens=_mean(completion.prompt_tokens for completion in fine),
        completion_tokens=_mean(completion.completion_tokens for completion in fine),
        seconds=statistics.median(seconds) if seconds else None,
        cost=sum(costs) / len(costs) if costs else None,
        unpriced=len(fine) - len(costs) if price else 0,
    )


def _mean(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


# --------------------------------------------------------------------------------------------------------------- slices


def _slices(
    scores: Scores, metrics: Sequence[Metric], candidates: Sequence[str], baseline: str | None
) -> tuple[tuple[SliceTable, ...], tuple[WorseSlice, ...], str]:
    """Tables by split, column and metric; the slices where a candidate is clearly worse; what was compared, in words."""
    differences = []
    if baseline is not None:
        differences = slice_differences(scores, metrics, candidates, baseline, list(scores.splits), CONFIDENCE)
    by_cell = {(one.comparison.split, one.comparison.metric, one.column, one.value, one.comparison.candidate): one
               for one in differences}  # fmt: skip
    tables = []
    for split, here in scores.splits.items():
        judged = [metric for metric in metrics if metric.name in here.metrics]
        for column, values in here.slices.items():
            sizes = Counter(value for value in values if value is not None)
            shown = sorted(sizes, key=lambda value: (-sizes[value], value))[:MOST_VALUES]
            parts = {value: np.array([v == value for v in values]) for value in shown}
            for metric in judged:
                rows = tuple(
                    SliceRow(
                        value=value,
                        samples=sizes[value],
                        cells=tuple(
                            SliceCell(
                                candidate=name,
                                estimate=refused(
                                    estimate(here, metric, name, confidence=CONFIDENCE, within=mask),
                                    scores.mixed_modes(metric.name, (name,)),
                                ),
                                difference=by_cell.get((split, metric.name, column, value, name)),
                            )
                            for name in candidates
                        ),
                    )
                    for value, mask in parts.items()
                )
                left_out = len(sizes) - len(shown)
                tables.append(SliceTable(column=column, split=split, metric=metric, rows=rows, left_out=left_out))
    by_name = {metric.name: metric for metric in metrics}
    worse = [
        WorseSlice(difference=one, metric=by_name[one.comparison.metric])
        for one in differences
        if one.value is not None and leaning(one.comparison, by_name[one.comparison.metric]) == "worse"
    ]
    worse.sort(
        key=lambda found: (not found.difference.stands, sign(found.metric) * (found.difference.contribution or 0))
    )
    return tuple(tables), tuple(worse), multiplicity_sentence(differences, CONFIDENCE) if differences else ""


def _drivers(scores: Scores, worse: Sequence[WorseSlice], baseline: str | None) -> tuple[str, ...]:
    """A sentence for each slice that drives a candidate's loss on a split."""
    return tuple(
        driver_sentence(
            one.difference,
            compare(
                scores,
                one.metric,
                one.difference.comparison.candidate,
                baseline,
                one.difference.comparison.split,
                CONFIDENCE,
            ),
            minus="−",
        )
        for one in worse
        if baseline is not None and one.difference.drives
    )


def leaning(comparison: Comparison, metric: Metric) -> str:
    """`better` or `worse` where the interval of the difference is clear of zero, else `unclear`."""
    if comparison.low is None or comparison.high is None or comparison.low <= 0 <= comparison.high:
        return "unclear"
    return "better" if comparison.low * sign(metric) > 0 else "worse"


def _all_flips(
    run: Run,
    scores: Scores,
    metrics: Sequence[Metric],
    candidates: Sequence[str],
    baseline: str | None,
    inputs: Mapping[str, str],
) -> tuple[Flips, ...]:
    if baseline is None:
        return ()
    return tuple(
        _flips(scores, metric, cut_of(run, metric), candidate, baseline, split, inputs)
        for split, here in scores.splits.items()
        for metric in metrics
        if metric.name in here.metrics
        for candidate in candidates
        if candidate != baseline
    )


def _flips(
    scores: Scores,
    metric: Metric,
    cut: Cut | None,
    candidate: str,
    baseline: str,
    split: str,
    inputs: Mapping[str, str],
) -> Flips:
    changed = flips(scores, metric, candidate, baseline, split)
    crossed = [
        flip.improved
        for flip in changed
        if cut is not None and cut.passes(flip.candidate_score) != cut.passes(flip.baseline_score)
    ]
    return Flips(
        comparison=compare(scores, metric, candidate, baseline, split, CONFIDENCE),
        metric=metric,
        good_to_bad=crossed.count(False),
        bad_to_good=crossed.count(True),
        drops=tuple(_move(flip, metric, inputs) for flip in [f for f in changed if not f.improved][:MOVES]),
        gains=tuple(_move(flip, metric, inputs) for flip in [f for f in changed if f.improved][:MOVES]),
    )


def _move(flip: Flip, metric: Metric, inputs: Mapping[str, str]) -> Move:
    return Move(
        sample_id=flip.sample_id,
        snippet=snippet(inputs.get(flip.sample_id, "")),
        score=flip.candidate_score,
        baseline_score=flip.baseline_score,
        change=flip.change * sign(metric),
    )


# -------------------------------------------------------------------------------------------------------------- samples


def _by_sample(answers: Sequence[Answer]) -> dict[str, dict[str, Answer]]:
    found: defaultdict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        found[answer.sample_id][answer.candidate] = answer
    return dict(found)


def _samples(
    samples: Sequence[Sample],
    answers: Mapping[str, Mapping[str, Answer]],
    judged: Sequence[tuple[Judgement, str]],
    baseline: str | None,
    metrics: Sequence[Metric],
    splits: Sequence[str],
) -> tuple[ReportSample, ...]:
    """All samples of the evaluated splits, the largest loss against the baseline first."""
    by_name = {metric.name: metric for metric in metrics}
    judgements: defaultdict[str, dict[tuple[str, str], Judgement]] = defaultdict(dict)
    evidence: defaultdict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for judgement, said in judged:
        judgements[judgement.id][judgement.candidate, judgement.metric] = judgement
        evidence[judgement.id][judgement.candidate, judgement.metric] = said
    found = [
        ReportSample(
            sample=sample,
            answers=answers.get(sample.id, {}),
            judgements=judgements.get(sample.id, {}),
            evidence=evidence.get(sample.id, {}),
            worst_change=_worst_change(judgements.get(sample.id, {}), baseline, by_name),
        )
        for sample in samples
        if sample.split in splits
    ]
    found.sort(key=lambda view: (view.worst_change or 0.0, view.sample.row, view.sample.id))
    return tuple(found)


def _worst_change(
    judgements: Mapping[tuple[str, str], Judgement], baseline: str | None, by_name: Mapping[str, Metric]
) -> float | None:
    changes = []
    for (candidate, name), judgement in judgements.items():
        against = judgements.get((baseline, name)) if baseline is not None and candidate != baseline else None
        metric = by_name.get(name)
        if metric is None or against is None or judgement.score is None or against.score is None:
            continue
        changes.append(sign(metric) * (judgement.score - against.score) / (metric.high - metric.low))
    return min(changes, default=None)


# --------------------------------------------------------------------------------------------------- judges and history


def _judge_cards(
    run: Run,
    metrics: Sequence[Metric],
    judgements: Sequence[Judgement],
    calibrations: Mapping[str, tuple[Calibration, ...]],
) -> tuple[JudgeCard, ...]:
    scored: Counter[str] = Counter()
    errors: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for judgement in judgements:
        if judgement.error is None:
            scored[judgement.metric] += 1
        else:
            errors[judgement.metric][judgement.error.kind] += 1
    people = [metric.name for metric in metrics if _judge_facts(run, metric).get("kind") == "human"]
    rated = by_people(judgements, metrics, people, CONFIDENCE)
    return tuple(
        _judge_card(
            run,
            metric,
            scored[metric.name],
            dict(errors[metric.name].most_common()),
            calibrations.get(metric.name, ()),
            rated.get(metric.name, ()),
        )
        for metric in metrics
    )


def _judge_facts(run: Run, metric: Metric) -> dict[str, Any]:
    """What the run's record says of a judge: its own description, else its options in the suite."""
    described = run.record.get("judges")
    own = described.get(metric.name) if isinstance(described, Mapping) else None
    facts = own if isinstance(own, Mapping) and own else _suite_part(run, "judges", metric.name)
    return dict(facts) if isinstance(facts, Mapping) else {}


def _judge_card(
    run: Run,
    metric: Metric,
    scored: int,
    errors: Mapping[str, int],
    calibrations: tuple[Calibration, ...],
    rated: tuple[Reliability, ...],
) -> JudgeCard:
    facts = _judge_facts(run, metric)
    kind = str(facts.pop("kind", metric.name))
    noise = run.record.get("judge_noise")
    if isinstance(noise, Mapping) and metric.name in noise:
        facts["noise"] = noise_sentence(noise[metric.name])
    return JudgeCard(
        metric=metric,
        kind=kind,
        definition=str(facts.pop("definition", DEFINITIONS.get(kind, ""))),
        fingerprint=run.judges.get(metric.name, ""),
        facts=facts,
        scored=scored,
        unscored=sum(errors.values()),
        errors=errors,
        calibrations=calibrations,
        reliability=(*rated, *(diagram for card in calibrations if (diagram := of_card(card)) is not None)),
    )


def _history(
    store: Store, runs: Sequence[Run], metrics: Sequence[Metric], blessed: Mapping[tuple[str, str], str]
) -> tuple[HistoryRow, ...]:
    """One row a run, oldest first: the first run's metrics on the first split of each."""
    rows = []
    for run in sorted(runs, key=lambda run: run.started):
        scores = Scores.from_rows(store.scores(run.id))
        first = list(scores.splits)[:1]
        estimates = {
            (row.candidate, name): found
            for row in leaderboard(scores, metrics, None, first, CONFIDENCE)
            for name, found in row.estimates.items()
        }
        outcomes = {verdict.candidate: str(verdict.outcome) for verdict in store.verdicts(run.id)}
        marks = {candidate: name for (where, candidate), name in blessed.items() if where == run.id}
        rows.append(HistoryRow(run=run, estimates=estimates, outcomes=outcomes, blessed=marks))
    return tuple(rows)
