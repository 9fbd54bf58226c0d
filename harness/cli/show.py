"""`muster show RUN [SAMPLE]`: everything known about a run, or about one of its samples.

Texts of data and models are shown with control characters made visible, so that no answer can drive the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.records import Answer, Judgement, Run, Sample, Training, Verdict
    from harness.store import Store

SHOWN_SAMPLES = 10
PREVIEW = 72


def show(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    sample: Annotated[str | None, typer.Argument(help="A sample's id or its beginning; left out, the run.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Show a run, or one sample with every candidate's answer and every judgement with its evidence."""
    from rich.console import Console

    from harness.store import Home, Store

    console = Console(highlight=False, markup=False, emoji=False)
    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run)
        if sample is None:
            show_run(store, found, console, home)
        else:
            show_sample(store, found, sample, console)


# ----------------------------------------------------------------------------------------------------------------- run


def show_run(store: Store, run: Run, console: Console, home: Path) -> None:
    """Prints what a run is, its leaderboard, trainings and verdicts, and the first samples."""
    import shlex

    from harness.cli.session import elsewhere
    from harness.deciding.surfaces.text import printable

    console.print(_facts(run))
    console.print(_board(store.leaderboard(run.id)))
    trainings, verdicts, samples = store.trainings(run.id), store.verdicts(run.id), store.samples(run.id)
    if trainings:
        console.print(_trainings(trainings))
    for verdict in verdicts:
        console.print(_verdict(verdict))
    console.print(_samples(samples[:SHOWN_SAMPLES], len(samples)))
    if samples:
        command = f"muster show {printable(run.id)} {shlex.quote(printable(samples[0].id))}{elsewhere(home)}"
        console.print(f"next: {command}", soft_wrap=True)


def _facts(run: Run) -> Table:
    table = _plain_table(None, "", "")
    table.show_header = False
    splits = {name: part.get("samples") for name, part in run.record.get("splits", {}).items()}
    facts: dict[str, object] = {
        "run": run.id,
        "suite": f"{run.suite} version {run.suite_version}",
        "status": run.status,
        "started": run.started,
        "finished": run.finished or "–",
        "seconds": f"{run.seconds:,.1f}",
        "command": run.record.get("command", "–"),
        "splits": ", ".join(f"{name} {count}" for name, count in splits.items()) or "–",
        "candidates": ", ".join(f"{name} ({key[:12]})" for name, key in run.candidates.items()),
        "judges": ", ".join(f"{name} ({key[:12]})" for name, key in run.judges.items()),
        "content key": run.key,
    }
    for name, value in facts.items():
        table.add_row(_text(name, "bold"), _text(value))
    return table


def _board(rows: Sequence[tuple[str, str, str, int, int, float | None]]) -> Table:
    table = _plain_table("means", "split", "metric", "candidate", "mean", "n", "unscored")
    for split, metric, candidate, n, unscored, mean in rows:
        shown = "–" if mean is None else f"{mean:.4f}"
        table.add_row(*map(_text, (split, metric, candidate, shown, f"{n:,}", f"{unscored:,}")))
    return table


def _trainings(trainings: Iterable[Training]) -> Table:
    table = _plain_table(
        "trainings", "candidate", "base", "rows", "steps", "tokens", "seconds", "parameters", "adapter"
    )
    for t in trainings:
        share = f"{t.trainable_parameters:,} of {t.total_parameters:,}"
        table.add_row(
            *map(
                _text,
                (
                    t.candidate,
                    t.base,
                    f"{t.rows:,}",
                    f"{t.steps:,}",
                    f"{t.tokens:,}",
                    f"{t.seconds:,.0f}",
                    share,
                    t.path,
                ),
            )
        )
    return table


def _verdict(verdict: Verdict) -> Table:
    from harness.deciding.surfaces.text import printable

    against = f" against {verdict.baseline}" if verdict.baseline else ""
    table = _plain_table(
        f"verdict on {printable(verdict.candidate)}{printable(against)}: {verdict.outcome}", "", "rule", "finding"
    )
    for finding in verdict.findings:
        table.add_row(_text(finding.outcome), _text(finding.rule), _text(finding.message))
    return table


def _samples(samples: Sequence[Sample], total: int) -> Table:
    title = f"samples (the first {len(samples)} of {total:,})" if total > len(samples) else "samples"
    table = _plain_table(title, "sample", "split", "row", "input")
    for sample in samples:
        preview = " ".join(sample.input.split())
        table.add_row(
            *map(
                _text,
                (sample.id, sample.split, sample.row, preview[:PREVIEW] + ("…" if len(preview) > PREVIEW else "")),
            )
        )
    return table


# -------------------------------------------------------------------------------------------------------------- sample


def show_sample(store: Store, run: Run, name: str, console: Console) -> None:
    """Prints a sample, then each candidate's prompt, answer and judgements. Raises UserError for an unknown id."""
    found = find_sample(store.samples(run.id), name)
    sample = found[0]
    console.print(_sample_facts(found))
    for turn in sample.messages:
        _print_part(console, turn.role, turn.content)
    if not sample.messages:
        _print_part(console, "input", sample.input)
    for reference in sample.references:
        _print_part(console, "reference", reference)
    for context in sample.contexts:
        _print_part(console, "context", context)
    judgements = [j for j in store.judgements(run.id) if j.id == sample.id]
    answers = [answer for answer in store.answers(run.id) if answer.sample_id == sample.id]
    for answer in answers:
        _show_answer(console, answer, [j for j in judgements if j.candidate == answer.candidate])
    console.print()
    console.print(_scores(run, [answer.candidate for answer in answers], judgements))
    for line in _flips(run, store.verdicts(run.id), judgements):
        console.print(_text(line))
    for training in store.trainings(run.id):
        for row in training.record.get("nearest", {}).get(sample.id, []):
            where = f"row {row['row']:,} of {row['split']}, similarity {row['similarity']:.2f}"
            told = f"{row['input']}\n→ {row['reference']}"
            _print_part(console, f"near it in the training of {training.candidate}: {where}", told)


def _scores(run: Run, candidates: Sequence[str], judgements: Sequence[Judgement]) -> Table:
    """Every metric by every candidate, raters among the metrics; ✓ and ✕ where the score passes or fails its cut."""
    from harness.deciding.cuts import cut_of

    by_cell = {(j.metric, j.candidate): j for j in judgements}
    table = _plain_table("scores", "metric", "passes at", *candidates)
    for metric in run.metrics:
        cut = cut_of(run, metric)
        cells = []
        for candidate in candidates:
            judged = by_cell.get((metric.name, candidate))
            mark = (
                ""
                if judged is None or judged.score is None or cut is None
                else " ✓"
                if cut.passes(judged.score)
                else " ✕"
            )
            cells.append("–" if judged is None or judged.score is None else f"{judged.score:.4f}{mark}")
        side = "≥" if metric.direction == "higher" else "≤"
        table.add_row(*map(_text, (metric.name, "–" if cut is None else f"{side} {cut.value:g}", *cells)))
    return table


def _flips(run: Run, verdicts: Sequence[Verdict], judgements: Sequence[Judgement]) -> list[str]:
    """A line for each metric on which a candidate passes and the gate's baseline fails, or the other way round."""
    from harness.deciding.cuts import cut_of

    baseline = next((v.baseline for v in verdicts if v.baseline in run.candidates), None)
    by_cell = {(j.metric, j.candidate): j.score for j in judgements if j.score is not None}
    lines = []
    for metric in run.metrics:
        cut, before = cut_of(run, metric), by_cell.get((metric.name, baseline or ""))
        if cut is None or before is None:
            continue
        for candidate in run.candidates:
            now = by_cell.get((metric.name, candidate))
            if now is not None and cut.passes(now) != cut.passes(before):
                how = "fail → pass" if cut.passes(now) else "pass → fail"
                limit = f" ({cut.rule})" if cut.rule else ""
                lines.append(f"{how}  {candidate} against {baseline} on {metric.name}: {before:.4f} → {now:.4f}{limit}")
    return lines


def find_sample(samples: Sequence[Sample], name: str) -> list[Sample]:
    """The sample of an id or of a prefix that only one has; several where it stands in several splits."""
    import difflib

    from harness.errors import UserError

    known = list(dict.fromkeys(sample.id for sample in samples))
    ids = [id for id in known if id == name] or [id for id in known if id.startswith(name)]
    if len(ids) == 1:
        return [s for s in samples if s.id == ids[0]]
    if ids:
        raise UserError(
            f"'sample' must name one sample (got {name!r}, with which {len(ids)} begin). Give more of the id."
        )
    close = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    raise UserError(f"'sample' must be in the run (got {name!r}){hint}. 'muster show RUN' lists the first ones.")


def _sample_facts(found: Sequence[Sample]) -> Table:
    sample = found[0]
    table = _plain_table(None, "", "")
    table.show_header = False
    facts: dict[str, object] = {
        "sample": sample.id,
        "split": ", ".join(s.split for s in found),
        "row": sample.row,
        "cluster": sample.cluster or "–",
        **{f"slice {column}": value for column, value in sample.slices.items()},
    }
    for name, value in facts.items():
        table.add_row(_text(name, "bold"), _text(value))
    return table


def _show_answer(console: Console, answer: Answer, judgements: Sequence[Judgement]) -> None:
    from rich.rule import Rule

    made = answer.completion
    console.print()
    console.print(Rule(_text(answer.candidate, "bold"), align="left"))
    for message in answer.prompt:
        _print_part(console, f"prompt, {message.role}", message.content)
    for context in answer.contexts:
        _print_part(console, "retrieved", context)
    if made.error is not None:
        _print_part(console, "no answer", f"{made.error.kind}: {made.error.message}")
    else:
        _print_part(console, "answer", made.text)
    facts = {
        "finish": made.finish_reason,
        "prompt tokens": made.prompt_tokens,
        "answer tokens": made.completion_tokens,
        "seconds": None if made.seconds is None else f"{made.seconds:.3f}",
        "prompt": answer.prompt_sha[:12],
        "key": answer.key[:12],
    }
    console.print(_text(", ".join(f"{name} {value}" for name, value in facts.items() if value is not None), "dim"))
    if judgements:
        console.print(_judgements(judgements))


def _judgements(judgements: Iterable[Judgement]) -> Table:
    table = _plain_table(None, "metric", "score", "label", "evidence")
    for judgement in judgements:
        score = "–" if judgement.score is None else f"{judgement.score:.4f}"
        error = judgement.error
        told = f"{error.kind}: {error.message}" if error is not None else _evidence(judgement.evidence)
        table.add_row(_text(judgement.metric), _text(score), _text(judgement.label or ""), _text(told))
    return table


def _evidence(value: Any, indent: str = "") -> str:
    """Evidence as lines, one a leaf; short lists and mappings of numbers in one line."""
    if isinstance(value, dict):
        return "\n".join(f"{indent}{key}: {_leaf(inner, indent)}" for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(f"{indent}- {_item(inner, indent)}" for inner in value)
    return f"{indent}{_leaf(value, indent)}"


def _item(value: Any, indent: str) -> str:
    """An item of a list: what is judged first, its figures in the same line, a long premise below."""
    if not isinstance(value, dict):
        return _leaf(value, indent)
    said = value.get("sentence", value.get("text"))
    figures = {
        key: inner for key, inner in value.items()
        if key not in ("sentence", "text", "premise") and not isinstance(inner, dict | list)
    }  # fmt: skip
    deep = {key: inner for key, inner in value.items() if isinstance(inner, dict | list)}
    told = ", ".join(f"{key} {json.dumps(_rounded(inner), ensure_ascii=False)}" for key, inner in figures.items())
    parts = [str(said)] if said is not None else []
    parts += [told.replace('"', "")] if told else []
    parts += [f"against: {value['premise']}"] if value.get("premise") else []
    parts += [_evidence(deep, "").strip()] if deep else []
    return f"\n{indent}  ".join("\n".join(parts).splitlines())


def _leaf(value: Any, indent: str) -> str:
    is_nested = isinstance(value, dict | list) and bool(value)
    text = json.dumps(_rounded(value), ensure_ascii=False) if not isinstance(value, str) else value
    return "\n" + _evidence(value, indent + "  ") if is_nested and len(text) > PREVIEW else text


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(inner) for key, inner in value.items()}
        case list():
            return [_rounded(inner) for inner in value]
        case _:
            return value


# ---------------------------------------------------------------------------------------------------------------- both


def _print_part(console: Console, title: str, text: object) -> None:
    console.print(_text(title, "bold"))
    console.print(_text(text), soft_wrap=False)


def _plain_table(title: str | None, *columns: str) -> Table:
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), header_style="bold"
    )
    for column in columns:
        numeric = column in ("mean", "n", "unscored", "score", "rows", "steps", "tokens", "seconds")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _text(value: object, style: str = "") -> Text:
    from rich.text import Text

    from harness.deciding.surfaces.text import printable

    return Text(printable(value), style=style)
