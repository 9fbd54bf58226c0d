"""The card of an exported model: what it is, how to ask it, what it was trained on, and what its run found.

Markdown, with the Hub's metadata at the head. Every figure comes from the store through `harness.deciding`, so card,
leaderboard and gate cannot differ. No text of the data stands in it: who may have the weights need not have the rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.deciding.comparison import leaderboard
from harness.deciding.scores import Scores
from harness.deciding.surfaces.markdown import escaped
from harness.deciding.surfaces.text import headline
from harness.deciding.wording import number, signed
from harness.records import Estimate, Fidelity, GenerationSettings, Metric, Run, Training, Verdict
from harness.store import Store

CONFIDENCE = 0.95
"""Of the card's intervals, two-sided; a verdict brings its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is known of an exported model beside its run."""

    base: str
    """As the suite names it."""
    base_fingerprint: str
    adapter_key: str | None
    """Content key of the adapter that was merged; None where there was none to merge."""
    dtype: str
    quantization: str | None
    """How the base was held while the candidate answered."""
    encodes: bool
    """Whether an encoder reads the prompt and a decoder says the answer, such as T5."""
    has_template: bool
    """Whether the tokenizer has a chat template."""
    settings: GenerationSettings
    fidelity: Fidelity
    unasked: Mapping[str, str]
    """For each judge that was not asked again, why."""
    files: Mapping[str, str]
    """SHA-256 of each file but the card."""


def model_card(store: Store, run: Run, candidate: str, export: Export) -> str:
    """The text of README.md.

    Raises:
        StoreError: If the store's scores cannot be read.
    """
    scores = Scores.from_rows(store.scores(run.id), store.modes(run.id))
    training = next((one for one in store.trainings(run.id) if one.candidate == candidate), None)
    verdict = next((one for one in store.verdicts(run.id) if one.candidate == candidate), None)
    suite = run.record.get("suite", {})
    parts = [
        _metadata(export, run),
        f"# {escaped(candidate)} of suite {escaped(run.suite)}\n",
        _what(export, training, candidate, run),
        _asking(export, suite, candidate),
        _training(training, run) if training is not None else "",
        _data(run),
        _results(scores, run, candidate, verdict),
        _verdict(verdict),
        _fidelity(export),
        _versions(run),
        _files(export),
    ]
    return "\n".join(part for part in parts if part)


def _metadata(export: Export, run: Run) -> str:
    """The Hub's own words; a base that is not on the Hub has no place in them."""
    is_hub_name = "/" in export.base and not export.base.startswith(("embedded:", ".", "/"))
    task = "text2text-generation" if export.encodes else "text-generation"
    lines = ["---", "library_name: transformers", f"pipeline_tag: {task}", "tags: [muster]"]
    lines += [f"base_model: {json.dumps(export.base)}"] if is_hub_name else []
    return "\n".join([*lines, "---", ""])


def _what(export: Export, training: Training | None, candidate: str, run: Run) -> str:
    merged = "its adapter merged into weights of full precision" if export.adapter_key else "its weights as trained"
    held = f", which held its base in {export.quantization}" if export.quantization else ""
    return (
        f"Exported by muster: candidate {escaped(candidate)} of run {escaped(run.id)}, {merged}, as {export.dtype}"
        f" safetensors{held}.\n\n"
        + _table(
            ("", ""),
            [
                ("base", escaped(export.base)),
                ("base fingerprint", _code(export.base_fingerprint)),
                ("adapter", _code(export.adapter_key) if export.adapter_key else "none"),
                ("training", _code(training.key) if training is not None else "not by muster"),
                ("suite", f"{escaped(run.suite)} version {run.suite_version}, {_code(run.suite_sha)}"),
                ("data", _code(run.data_sha)),
            ],
        )
    )


def _asking(export: Export, suite: Mapping[str, Any], candidate: str) -> str:
    form = (
        "The tokenizer's chat template was used."
        if export.has_template
        else "The model has no chat template: a single question is its whole text, followed by an empty line."
    )
    lines = [
        "## How it was asked\n",
        form,
        "The user's turn (a Jinja template):\n",
        _fence(str(suite.get("prompt", ""))),
    ]
    if suite.get("system"):
        lines += ["\nThe system turn:\n", _fence(str(suite["system"]))]
    prompting = suite.get("candidates", {}).get(candidate, {}).get("prompting", {})
    if prompting.get("kind", "zero_shot") != "zero_shot":
        lines.append(f"\nAround it stood what {escaped(json.dumps(prompting))} adds; the model alone does not add it.")
    drawn = export.settings.temperature > 0
    how = f"temperature {export.settings.temperature:g}, top_p {export.settings.top_p:g}" if drawn else "greedy"
    lines.append(
        f"\nAnswers were decoded {how}, with at most {export.settings.max_new_tokens:,} new tokens; the model's "
        "generation_config.json says the same."
    )
    return "\n".join(lines) + "\n"


def _training(training: Training, run: Run) -> str:
    recipe: Mapping[str, Any] = training.record.get("recipe", {})
    ran: Mapping[str, Any] = training.record.get("ran", {})
    facts = [
        ("rows", f"{training.rows:,}"),
        ("steps", f"{training.steps:,}"),
        ("tokens fed", f"{training.tokens:,}"),
        ("trained parameters", f"{training.trainable_parameters:,} of {training.total_parameters:,}"),
        ("seconds", f"{training.seconds:,.0f}"),
        ("loss", _losses(training.log)),
        *((f"ran: {escaped(name)}", escaped(str(value))) for name, value in ran.items()),
    ]
    options = [(escaped(name), escaped(json.dumps(value))) for name, value in sorted(recipe.items())]
    return (
        f"## Training\n\nOn the suite's candidate {escaped(training.base)}.\n\n"
        + _table(("", ""), facts)
        + "\nThe recipe:\n\n"
        + _table(("option", "value"), [row for row in options if row[1] != "null"])
    )


def _losses(log: Sequence[Mapping[str, float]]) -> str:
    """First and last entry of the training curve."""
    entries = [entry for entry in log if "loss" in entry]
    if not entries:
        return "–"
    ends = entries if len(entries) < 3 else (entries[0], entries[-1])
    return ", ".join(f"{number(entry['loss'])} at step {entry['step']:,.0f}" for entry in ends)


def _data(run: Run) -> str:
    splits: Mapping[str, Mapping[str, Any]] = run.record.get("splits", {})
    rows = [
        (escaped(name), f"{part.get('samples', 0):,}", escaped(str(part.get("use", ""))))
        for name, part in splits.items()
    ]
    overlaps = run.record.get("contamination", {}).get("overlaps")
    note = "" if overlaps is None else f"\nTraining rows that stand in an evaluated split too: {overlaps:,}.\n"
    return "## Data\n\n" + _table(("split", "samples", "use"), rows) + note


def _results(scores: Scores, run: Run, candidate: str, verdict: Verdict | None) -> str:
    baseline = verdict.baseline if verdict is not None else None
    names = [name for name in (candidate, baseline) if name is not None and name in scores.candidates]
    metrics = [m for m in run.metrics if any(m.name in here.metrics for here in scores.splits.values())]
    found = {(row.split, row.candidate): row for row in leaderboard(scores, metrics, names, None, CONFIDENCE)}
    rows = []
    for split in scores.splits:
        for metric in metrics:
            for name in names:
                estimate = found[split, name].estimates.get(metric.name)
                if estimate is not None:
                    rows.append(_result(split, metric, name, estimate))
    head = ("split", "metric", "candidate", "figure", f"{100 * CONFIDENCE:g} % interval", "n", "unscored")
    text = f"## Evaluation\n\nRun {escaped(run.id)} of {run.started[:10]} ({run.status}).\n\n"
    return text + (_table(head, rows) if rows else "It holds no judgements of this candidate.\n")


def _result(split: str, metric: Metric, name: str, estimate: Estimate) -> tuple[str, ...]:
    arrow = "↑" if metric.direction == "higher" else "↓"
    known = estimate.low is not None and estimate.high is not None
    bounds = f"{number(estimate.low or 0.0)} to {number(estimate.high or 0.0)}" if known else "–"
    mean = "–" if estimate.mean is None else number(estimate.mean)
    return (
        escaped(split), f"{escaped(metric.name)} {arrow}", escaped(name), mean, bounds, f"{estimate.n:,}",
        f"{estimate.unscored:,}",
    )  # fmt: skip


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return "No gate decided about this candidate in that run.\n"
    against = f" against {escaped(verdict.baseline)}" if verdict.baseline else ""
    lines = [f"**{headline(verdict)}**{against}, each bound at {100 * verdict.confidence:g} %:\n"]
    lines += [f"- {finding.outcome.upper()}: {escaped(finding.message)}" for finding in verdict.findings]
    return "\n".join(lines) + "\n"


def _fidelity(export: Export) -> str:
    return (
        "## This export against the candidate\n\n" + "\n".join(fidelity_lines(export.fidelity, export.unasked)) + "\n"
    )


def fidelity_lines(found: Fidelity, unasked: Mapping[str, str]) -> list[str]:
    """What was found when the exported folder was read back and asked the candidate's prompts, in sentences."""
    lines = [
        f"- {found.same_answers:,} of {found.prompts:,} greedy answers are equal, character by character.",
        f"- Along the candidate's answers both find the same token likeliest at {found.same_tokens:,} of {found.tokens:,} "
        f"places; no two logits differ by more than {found.max_logit:.1e}.",
    ]
    if found.same_answers == found.prompts:
        return [*lines, "- Equal answers have equal scores: no judge had to be asked again."]
    for name, change in found.metrics.items():
        said = "an answer could not be judged" if change is None else f"{signed(change)} in the mean"
        lines.append(f"- {escaped(name)}: {said} over these {found.prompts:,} answers.")
    lines += [f"- {escaped(name)}: not asked again ({why})." for name, why in unasked.items()]
    return lines


def _versions(run: Run) -> str:
    environment: Mapping[str, Any] = run.record.get("environment", {})
    return "## Versions\n\n" + _table(("", ""), [(escaped(k), escaped(str(v))) for k, v in environment.items()])


def _files(export: Export) -> str:
    rows = [(escaped(name), _code(sha)) for name, sha in export.files.items()]
    return "## Files\n\n" + _table(("file", "SHA-256"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _code(value: str) -> str:
    return f"`{value}`"


def _fence(text: str) -> str:
    """A block that the text cannot end: its fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
