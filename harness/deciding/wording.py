"""The one English sentence of each finding, from the same numbers the decision was made on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness import stats
from harness.deciding.corrections import Correction
from harness.deciding.evidence import Question
from harness.deciding.rules import LeftOut
from harness.deciding.slices import SliceDifference
from harness.records import Calibration, Comparison, Figure, Outcome
from harness.suite.grammar import Rule


def number(value: float) -> str:
    """Three decimals, or as many as two significant digits need, up to six."""
    digits = next((d for d in (3, 4, 5) if abs(value) >= 10 ** (1 - d)), 6 if abs(value) >= 5e-7 else 3)
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 makes -0.0 zero


def signed(value: float) -> str:
    """As `number`, with a plus where it is positive."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def sentence(question: Question, outcome: Outcome, *, needed: int | None, rules: int) -> str:
    """What was measured, and what it means for the rule."""
    if question.n == 0:
        return _nothing(question)
    return f"{_measured(question)}{_unscored(question)}: {_conclusion(question, outcome, needed, rules)}."


def coverage_sentence(
    *, metric: str, split: str, slice: str, candidate: str, scored: int, total: int, wanted: float, outcome: Outcome
) -> str:
    """For the coverage rule: a plain count of the least covered metric."""
    on = _place(split, slice)
    if not total:
        return f"{candidate} on {on}: there is no such sample in this run, so nothing can be decided."
    share = 100 * scored / total if total else 0.0
    end = {
        "pass": f"at least the {100 * wanted:g} % asked for",
        "incomplete": f"below the {100 * wanted:g} % asked for, but the run is incomplete; run it again",
    }.get(outcome, f"below the {100 * wanted:g} % asked for")
    return f"{candidate} on {on} has a score of {metric} for {scored} of {total} answers ({share:.1f} %): {end}."


def must_pass_sentence(
    rule: Rule,
    *,
    metric: str,
    split: str,
    candidate: str,
    bad: Mapping[str, float],
    unscored: Sequence[str],
    absent: Sequence[str],
) -> str:
    """For samples that must pass: which do not, and which are not known to.

    Args:
        rule: The rule, with its list.
        metric: Whose scores count.
        split: Where the samples are.
        candidate: Whose answers they are.
        bad: The listed samples with a score beyond the limit, and that score.
        unscored: Those without a score.
        absent: Those that the run did not evaluate.
    """
    count = len(rule.must_pass or ())
    limit = f"at least {rule.at_least:g}" if rule.at_least is not None else f"at most {rule.at_most:g}"
    samples = f"{count} samples of {split} that must have a {metric} of {limit}"
    gaps = [
        f"{len(ids)} {what} ({_listed(ids)})"
        for ids, what in ((unscored, "without a score"), (absent, "not evaluated in this run"))
        if ids
    ]
    rest = f"; {' and '.join(gaps)}" if gaps else ""
    if bad:
        shown = _listed([f"{one} with {number(score)}" for one, score in bad.items()])
        return f"{candidate} fails {len(bad)} of the {samples}: {shown}{rest}."
    if gaps:
        return f"{candidate} is not known to pass all of the {samples}{rest}; {'run them' if absent else 'score them'}."
    return f"{candidate} passes all {samples}."


def left_out_sentence(part: LeftOut) -> str:
    """For slices that a rule with `each` does not decide about."""
    small = [f"{name} ({size})" for name, size in part.slices.items()]
    parts = []
    if small:
        parts.append(f"{len(small)} slices with fewer than {part.rule.min_n} samples ({_listed(small)})")
    if part.missing:
        parts.append(f"{part.missing} samples without a value")
    if not parts:
        parts.append("all samples, for none has a value")
    if not part.kept:
        return f"{part.rule.each} on {part.split}: nothing is decided about: {' and '.join(parts)}."
    return f"{part.rule.each} on {part.split}: left out by the rule's own words are {' and '.join(parts)}."


def _listed(names: Sequence[str], shown: int = 5) -> str:
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def _place(split: str, slice: str) -> str:
    return f"{split} where {slice}" if slice else split


def modes_sentence(metric: str, split: str, modes: str) -> str:
    """For a rule whose scores were made in different modes."""
    return (
        f"{metric} on {split} was scored in different modes, which cannot be compared ({modes}): "
        "set the judge's 'mode' to one that all can have, such as sampled, and run again."
    )


def _measured(question: Question) -> str:
    interval = question.interval
    values = f"n {question.n}"
    if interval.clusters is not None:
        values += f" in {interval.clusters} clusters"
    if interval.low is not None and interval.high is not None:
        values = f"{_span(interval.low, interval.high, question)} at {100 * question.confidence:g} % a side, {values}"
    what = question.metric.name
    if question.quantile is not None:
        what = f"{100 * question.quantile:g} % quantile of the {what}"
    whose = f"{question.candidate}'s {what} on {_place(question.split, question.slice)}"
    if not question.is_paired:
        return f"{whose} is {number(interval.estimate)}{_unit(question)} ({values})"
    return f"{whose} differs from {question.baseline}'s by {signed(interval.estimate)}{_unit(question)} ({values})"


def _unit(question: Question) -> str:
    return f" {question.unit}" if question.unit else ""


def _span(low: float, high: float, question: Question) -> str:
    """From one number to another, either of which may be without end."""
    show = signed if question.is_paired else number
    if math.isfinite(low) and math.isfinite(high):
        return f"{number(low)} to {number(high)}{_unit(question)}"
    if math.isfinite(low):
        return f"{show(low)}{_unit(question)} or more"
    return f"{show(high)}{_unit(question)} or less" if math.isfinite(high) else "no bounds"


def _unscored(question: Question) -> str:
    if question.unscored == 0:
        return ""
    low, high = sorted(question.extreme(best=best).estimate for best in (False, True))
    show = signed if question.is_paired else number
    return f", with {question.unscored} unscored that could make it anything from {show(low)} to {show(high)}{_unit(question)}"


def _nothing(question: Question) -> str:
    owner = f"{question.candidate} and {question.baseline}" if question.is_paired else question.candidate
    what = "no sample with a score of both" if question.is_paired else "no scored answer"
    if question.unit:
        what = "no answer whose time was recorded"
    return (
        f"{owner} on {_place(question.split, question.slice)}: {question.metric.name} has {what} ({question.unscored} "
        f"unscored), so nothing can be decided."
    )


def _conclusion(question: Question, outcome: Outcome, needed: int | None, rules: int) -> str:
    match outcome:
        case "pass":
            return _passed(question)
        case "fail":
            return _failed(question)
    if question.interval.low is None and not question.is_too_small:
        return "too few samples differ for an interval"
    if question.interval.low is None:
        too_few = f"{stats.MIN_ITEMS} samples" if question.n < stats.MIN_ITEMS else f"{stats.MIN_CLUSTERS} clusters"
        return f"too few for an interval; at least {too_few} are needed"
    if question.passes():
        again = "run again to score them" if outcome == "incomplete" else "score them"
        return f"enough to show that it {_claim(question)}, were it not for the unscored; {again}"
    doubt = f"not enough to decide whether it {_claim(question)}"
    if question.fails_at(1 - question.confidence):
        doubt += f" (it would fail as the only rule, but not among {rules})"
    if needed is None and not _is_bounded(question):
        return f"{doubt}: too few of the values differ for a bound on that side"
    if needed is None:
        return f"{doubt}, and so near the limit that no number of samples would be"
    return f"{doubt}; about {needed:,} samples would be"


def _is_bounded(question: Question) -> bool:
    ends = (question.interval.low, question.interval.high)
    return all(end is not None and math.isfinite(end) for end in ends)


def _passed(question: Question) -> str:
    shown = f"shown that it {_claim(question)}"
    if question.condition == "no_worse_by" and question.bounds is not None and question.bounds[1] < 0:
        return f"{shown}, though it is worse within that margin"
    return shown


def _failed(question: Question) -> str:
    match question.condition:
        case "at_least":
            return f"it is below {_amount(question)}"
        case "at_most":
            return f"it is above {_amount(question)}"
        case "better_by":
            return f"it is not better by more than {_amount(question)}" if question.amount else "it is worse"
        case "no_worse_by":
            return f"it is worse, and not shown to be so by less than {_amount(question)}"


def _amount(question: Question) -> str:
    return f"{question.amount:g}{_unit(question)}"


def _claim(question: Question) -> str:
    match question.condition:
        case "at_least":
            return f"is at least {_amount(question)}"
        case "at_most":
            return f"is at most {_amount(question)}"
        case "better_by":
            return f"is better by more than {_amount(question)}" if question.amount else "is better"
        case "no_worse_by":
            return f"is not worse by {_amount(question)}"


# -------------------------------------------------------------------------------------------------------------- slices


def slice_name(one: SliceDifference) -> str:
    """A slice as people write it: `urgency: emergency`."""
    return f"{one.column}: {'(all other samples)' if one.value is None else one.value or '(empty)'}"


def driver_sentence(one: SliceDifference, whole: Comparison, *, minus: str = "-") -> str:
    """What a slice that drives a difference does to it, with this minus sign."""

    def show(value: float) -> str:
        return signed(value).replace("-", minus)

    between = "" if one.low is None or one.high is None else f" ({show(one.low)} to {show(one.high)})"
    return (
        f"{slice_name(one)} drives {whole.metric} of {whole.candidate}: {100 * one.share:.3g} % of the samples make "
        f"{show(one.contribution or 0.0)}{between} of the whole difference of {show(whole.difference or 0.0)}"
    )


def multiplicity_sentence(differences: Sequence[SliceDifference], confidence: float) -> str:
    """How many slices were compared, and how many of their differences are no chance hits."""
    compared = [one for one in differences if one.comparison.low is not None]
    stand = sum(one.stands for one in compared)
    return (
        f"{len(compared):,} slice comparisons have an interval; {stand:,} stand{'s' if stand == 1 else ''} with a false "
        f"discovery rate of {100 * (1 - confidence):g} % among them all (Benjamini-Hochberg)"
    )


# --------------------------------------------------------------------------------------------------------- calibration

FIGURE_NAMES: Mapping[str, str] = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "spearman": "Spearman",
    "kendall_tau_b": "Kendall tau-b",
    "cohen_kappa": "Cohen's kappa",
    "quadratic_kappa": "quadratic kappa",
    "balanced_accuracy_at_best": "balanced accuracy there, cross-fitted",
    "brier": "Brier score",
}
"""Figures of calibration cards whose names people write otherwise."""


def figure_name(name: str) -> str:
    """A figure's name as people write it."""
    return FIGURE_NAMES.get(name, name.replace("_", " "))


def figure_text(figure: Figure) -> str:
    """A figure with its interval: `0.871 (0.852 to 0.890)`."""
    if figure.value is None:
        return "-"
    ends = (
        f" ({number(figure.low)} to {number(figure.high)})"
        if figure.low is not None and figure.high is not None
        else ""
    )
    return f"{number(figure.value)}{ends}"


def calibration_text(card: Calibration) -> str:
    """A card's headline on its set: `AUROC 0.871 (0.852 to 0.890) on nq, n 600`."""
    unscored = f", {card.unscored:,} unscored" if card.unscored else ""
    return f"{figure_name(card.headline.name)} {figure_text(card.headline)} on {card.labels}, n {card.n:,}{unscored}"


def trust_text(cards: Sequence[Calibration]) -> str:
    """What is known of a judge's agreement with people, in a few words; rows it was trained on count only alone."""
    if not cards:
        return "not calibrated"
    fair = [card for card in cards if card.seen != "seen"] or list(cards)
    if len(fair) == 1:
        return calibration_text(fair[0])
    parts = []
    for name in dict.fromkeys(card.headline.name for card in fair):
        found = [c.headline.value for c in fair if c.headline.name == name and c.headline.value is not None]
        if found:
            span = number(found[0]) if len(found) == 1 else f"{number(min(found))} to {number(max(found))}"
            parts.append(f"{figure_name(name)} {span} on {len(found)} set{'s' if len(found) > 1 else ''}")
    return ", ".join(parts) or "not calibrated"


# --------------------------------------------------------------------------------------------------------- corrections


def correction_subject(one: Correction) -> str:
    """Whose figure it is: `lora`, or `lora - base`."""
    return one.candidate if one.baseline is None else f"{one.candidate} - {one.baseline}"


def correction_method(one: Correction) -> str:
    """How it was corrected, and from how many labels."""
    end = "; cut off, for it lay beyond what can be" if one.clipped else ""
    if one.clipped and one.low is None:
        end = "; beyond what can be, with its whole interval: the card is not true of these answers"
    return f"{one.method}, {one.labels:,} label{'' if one.labels == 1 else 's'}{end}"


# --------------------------------------------------------------------------------------------------------- judge noise


def noise_sentence(entry: Mapping[str, Any]) -> str:
    """What repeated calls say of a judge, from its entry in the run's record."""
    said = f"{entry['cases']} of {entry['of']} scored cases judged {entry['repeats']} times more"
    within, share = entry["within_variance"], entry["share"]
    if within is None:
        return f"{said}: too few scores to tell its noise"
    if within == 0:
        return f"{said}: always the same score (between-call variance 0)"
    part = "" if share is None else f", {100 * share:.1f} % of the variance of its scores"
    return f"{said}: between-call variance {within:.3g} (standard deviation {number(within**0.5)}){part}"
