"""The trainings of a plan on the terminal, before a step is taken: what they take, and what the audit found.

A table of what is trained and what it costs, one of the tokens, a checklist for each set of rows. `show_rows` prints
rows as the model sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.running.outlook import AuditedRows, Outlook, Remembered
    from harness.running.plan import Plan
    from harness.training.audit import AnyAudit, Audit, PairAudit, PromptAudit, TokenRow

METHODS = {"lora": "LoRA", "full": "all weights", "head": "head", "last_layers": "last layers"}
"""How the table calls what a training changes."""
NAMED = re.compile(r"'(?:train\.)?(\w+)' ")
STYLES = {"ok": "green", "note": "yellow", "stop": "bold red"}


def show_outlooks(plan: Plan, outlooks: Sequence[Outlook], console: Console) -> None:
    """Tables and checklists of all planned trainings. Raises UserError, after everything is shown, for what stops one."""
    from harness.errors import UserError

    console.print()
    console.print(_costs(outlooks))
    _print_costs(outlooks, console)
    console.print()
    console.print(_tokens(outlooks))
    stops: list[str] = []
    for audited, shared in _by_rows(outlooks):
        _print_audit(plan, audited, shared, console)
        stops += [_placed(plan, shared[0], line) for line in audited.harm]
        checked = shared[0].validation
        stops += [f"validation rows: {line}" for line in (checked.harm if checked is not None else ())]
    stops += [_placed(plan, outlook, line) for outlook in outlooks for line in outlook.stops]
    if stops:
        raise UserError("\n".join(stops))


# -------------------------------------------------------------------------------------------------------------- tables


def _table(*columns: str, left: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", overflow="fold")
    return table


def _costs(outlooks: Sequence[Outlook]) -> Table:
    from harness.cli.progress import clock
    from harness.training.recipe import gibibytes

    table = _table("training", "method", "trained", "of", "share", "memory", "time", left=("training", "method"))
    for outlook in outlooks:
        plan, forecast = outlook.plan, outlook.forecast
        counts = ("–", "–", "–")
        if plan is not None:
            share = plan.trainable_parameters / plan.total_parameters
            counts = (f"{plan.trainable_parameters:,}", f"{plan.total_parameters:,}", f"{share:.2%}")
        memory = gibibytes(forecast.memory.total) if forecast is not None else "–"
        time = clock(forecast.seconds) if forecast is not None else "trained" if outlook.trained is not None else "–"
        table.add_row(outlook.planned.candidate, _method(outlook), *counts, memory, time)
    return table


def _method(outlook: Outlook) -> str:
    """What is trained, in a word or two: `LoRA r=16`, `all weights`."""
    spec = outlook.planned.spec
    words = METHODS[spec.method]
    if spec.method == "lora":
        words += f" r={spec.rank}"
    elif spec.method == "last_layers" and spec.last_layers > 1:
        words = f"last {spec.last_layers} layers"
    return words + (f", {spec.quantization.upper()}" if spec.quantization else "")


def _print_costs(outlooks: Sequence[Outlook], console: Console) -> None:
    """Where the estimates come from: the parts of the largest memory, and each pace once."""
    from harness.training.recipe import gibibytes

    forecasts = [outlook.forecast for outlook in outlooks if outlook.forecast is not None]
    if forecasts:
        largest = max(forecasts, key=lambda forecast: forecast.memory.total)
        memory, free = largest.memory, largest.available
        parts = [
            ("frozen weights", memory.weights), ("trained", memory.trained), ("gradients", memory.gradients),
            ("optimiser", memory.optimizer), ("activations", memory.activations),
        ]  # fmt: skip
        listed = ", ".join(f"{name} {gibibytes(size)}" for name, size in parts if size)
        left = f"{gibibytes(free)} free" if free is not None else "free memory unknown"
        _line(console, f"memory, at most: {listed}; {left} on {largest.device}")
    for pace in dict.fromkeys(forecast.pace for forecast in forecasts):
        _line(console, f"time: {pace}")
    for untold in dict.fromkeys(outlook.untold for outlook in outlooks if outlook.untold):
        _line(console, untold, "yellow")


def _tokens(outlooks: Sequence[Outlook]) -> Table:
    columns = ("training", "split", "rows", "steps", "tokens an epoch", "in all", "trained", "padding")
    table = _table(*columns, left=("training", "split"))
    for outlook in outlooks:
        plan, audit = outlook.plan, outlook.audited.audit
        rows = f"{plan.rows if plan is not None else outlook.planned.rows:,}"
        steps = f"{plan.steps:,}" if plan is not None else "–"
        most = "≤ " if outlook.planned.spec.rewards and outlook.trained is None else ""
        in_all = f"{most}{plan.tokens:,}" if plan is not None and plan.tokens is not None else "–"
        counts = ("–", in_all, "–", "–")
        if audit is not None:
            share = audit.trained_tokens / audit.tokens
            epoch = f"{'≤ ' if outlook.planned.spec.rewards else ''}{audit.tokens:,}"
            counts = (epoch, in_all, f"{share:.0%}", _padding(outlook, audit))
        table.add_row(outlook.planned.candidate, outlook.planned.source, rows, steps, *counts)
    return table


def _padding(outlook: Outlook, audit: AnyAudit) -> str:
    """The share of padding in batches, which packed rows are spared; of drawn answers, in their prompts."""
    share = f"{audit.padding_share:.0%}"
    if outlook.forecast is None:
        return share
    return f"none ({share} spared)" if outlook.forecast.packed else share


# --------------------------------------------------------------------------------------------------------------- audit


def _by_rows(outlooks: Sequence[Outlook]) -> list[tuple[AuditedRows, list[Outlook]]]:
    """The audits, each with the trainings that share it."""
    groups: list[tuple[AuditedRows, list[Outlook]]] = []
    for outlook in outlooks:
        for audited, shared in groups:
            if audited is outlook.audited or (audited == outlook.audited and audited.audit is not None):
                shared.append(outlook)
                break
        else:
            groups.append((outlook.audited, [outlook]))
    return groups


def _print_audit(plan: Plan, audited: AuditedRows, shared: Sequence[Outlook], console: Console) -> None:
    from rich.text import Text

    names = ", ".join(outlook.planned.candidate for outlook in shared)
    console.print(Text(f"\naudit of {shared[0].planned.source} ({names})"))
    for state, line in _findings(plan, audited, shared[0]):
        console.print(Text.assemble("  ", (f"{state:<4}", STYLES[state]), "  ", line))


def _findings(plan: Plan, audited: AuditedRows, outlook: Outlook) -> Iterator[tuple[str, str]]:
    """What was looked at, the good with the bad: a state of STYLES and a line."""
    from harness.running.outlook import validation_overlaps
    from harness.training.audit import PairAudit, PromptAudit
    from harness.training.recipe import name_rows

    audit = audited.audit
    for line in audited.harm:
        yield "stop", line
    if audited.untold:
        yield "note", f"not audited: {audited.untold}"
    if isinstance(audit, PairAudit | PromptAudit):
        yield from _referred(plan, audit, outlook)
    elif audit is not None and outlook.planned.spec.objective == "language_modelling":
        yield (
            "ok",
            f"{audit.answers:,} documents in {audit.rows:,} pieces of {audit.shortest:,} to {audit.longest:,} tokens",
        )
        yield "ok", f"every token after a document's first is trained, its end too: {audit.trained_tokens:,}"
    elif audit is not None:
        yield from _checked(audit)
        yield from _told(audit, outlook)
    if outlook.validation is not None and outlook.validation.audit is not None:
        yield "ok", f"the {outlook.validation.audit.rows:,} validation rows pass the same audit"
    for line in outlook.validation.harm if outlook.validation is not None else ():
        yield "stop", f"validation rows: {line}"
    overlaps = validation_overlaps(plan, outlook.planned)
    if overlaps:
        rows = sorted({overlap.training_row for overlap in overlaps})
        yield "note", f"{name_rows(rows)}: also in a validation split, whose figures will flatter"


def _referred(plan: Plan, audit: PairAudit | PromptAudit, outlook: Outlook) -> Iterator[tuple[str, str]]:
    """What was looked at where rows are no answers to train: pairs of answers, or prompts."""
    from harness.running.outlook import room_for_answers
    from harness.training.audit import PairAudit
    from harness.training.recipe import name_rows

    if isinstance(audit, PairAudit):
        yield "ok", "both answers of every pair end with the end-of-sequence token, after what inference feeds"
        yield "ok", f"answers have {audit.chosen_mean:.0f} tokens where preferred, {audit.rejected_mean:.0f} where not"
    else:
        room = room_for_answers(plan, outlook.planned)
        yield "ok", f"every prompt leaves room for {room:,} tokens; the longest has {audit.longest:,}"
    if audit.dropped:
        yield "note", f"{name_rows(audit.dropped)}: longer than max_length, left out"
    if audit.duplicates:
        yield "note", f"{name_rows(audit.duplicates)}: an earlier row again"


def _checked(audit: Audit) -> Iterator[tuple[str, str]]:
    """What the audit would have stopped for."""
    if audit.bos:
        yield "ok", "one begin-of-sequence token at the head of every row"
    else:
        yield "ok", "no begin-of-sequence token: the tokenizer puts none there"
    yield "ok", "every answer ends with the end-of-sequence token, and that is trained"
    share = audit.trained_tokens / audit.tokens
    yield "ok", f"prompts are masked: {audit.trained_tokens:,} of {audit.tokens:,} tokens are trained ({share:.0%})"
    yield "ok", "what stands before each answer is, id by id, what inference feeds"


def _told(audit: Audit, outlook: Outlook) -> Iterator[tuple[str, str]]:
    """What is left out, and what was allowed."""
    from harness.training.recipe import name_rows

    spec = outlook.planned.spec
    lengths = f"{audit.shortest:,} to {audit.longest:,} tokens, median {audit.median:,.0f}"
    if audit.dropped:
        yield (
            "note",
            f"{name_rows(audit.dropped)}: longer than max_length {spec.max_length:,}, left out; kept {lengths}",
        )
    else:
        yield "ok", f"none longer than max_length {spec.max_length:,}, none cut: {lengths}"
    yield "ok", "no answer is empty"
    if audit.special:
        yield "note", f"{name_rows(audit.special)}: the answer spells a special token (allowed)"
    if audit.duplicates:
        yield "note", f"{name_rows(audit.duplicates)}: prompt and answer of an earlier row again"
    else:
        yield "ok", "no row repeats an earlier one"
    if audit.contradictions:
        yield "note", f"{name_rows(audit.contradictions)}: the prompt of an earlier row with another answer"


def _placed(plan: Plan, outlook: Outlook, line: str) -> str:
    """What stops a training, at the line of the option that it names; what names none is about the data."""
    named = NAMED.match(line)
    if named is None:
        return line
    part = "judges" if outlook.planned in plan.judge_trainings else "candidates"
    path = (part, outlook.planned.candidate, "train", named[1])
    return str(plan.loaded.problem(path, line[named.end() :]))


def _line(console: Console, text: str, style: str = "") -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


# ---------------------------------------------------------------------------------------------------------------- rows


def show_rows(
    plan: Plan, count: int, console: Console, *, ids: bool = False, remembered: Remembered | None = None
) -> None:
    """`count` rows of each training split, spread over it, as the model sees them: what is trained stands out.

    `remembered` gives trainings with a teacher the rows it has taught.

    Raises UserError where the audit stops them, or where a teacher has not answered, ModelError where a base is missing.
    """
    from rich.text import Text

    from harness.errors import ModelError, UserError
    from harness.running.outlook import audited_rows

    marked = not console.is_terminal or console.no_color
    key = "⟦ … ⟧ is trained" if marked else "green is trained, grey is not"
    for audited, shared in audited_rows(plan, remembered=remembered):
        if audited.harm:
            raise UserError("\n".join(audited.harm))
        if audited.untold:
            raise ModelError(audited.untold)
        names = ", ".join(planned.candidate for planned in shared)
        console.print(Text(f"\n{shared[0].split} ({names}): {key}"))
        for row in _spread(audited.rows, count):
            trained = sum(end - start for start, end, trained in row.spans() if trained)
            console.print(Text(f"\nrow {row.row}, {len(row.input_ids):,} tokens, {trained:,} trained", style="bold"))
            console.print(_marked_text(row, audited.tokenizer, marked), soft_wrap=marked)
            if ids:
                console.print(_marked_ids(row, marked), soft_wrap=marked)


def _spread(rows: Sequence[TokenRow], count: int) -> list[TokenRow]:
    """`count` rows at equal distances, the first and the last among them."""
    if count >= len(rows):
        return list(rows)
    places = [round(index * (len(rows) - 1) / max(count - 1, 1)) for index in range(count)]
    return [rows[place] for place in places]


def _marked_text(row: TokenRow, tokenizer: object, marked: bool) -> Text:
    from rich.text import Text

    text = Text()
    for start, end, trained in row.spans():
        piece = piece_of(tokenizer, row.input_ids, start, end)
        _append(text, visible(piece), trained, marked)
    return text


def _marked_ids(row: TokenRow, marked: bool) -> Text:
    from rich.text import Text

    text = Text("ids ")
    for start, end, trained in row.spans():
        _append(text, " ".join(map(str, row.input_ids[start:end])), trained, marked)
        text.append(" ")
    return text


def _append(text: Text, piece: str, trained: bool, marked: bool) -> None:
    if marked:
        text.append(f"⟦{piece}⟧" if trained else piece)
    else:
        text.append(piece, style="bold green" if trained else "dim")


def piece_of(tokenizer: object, ids: Sequence[int], start: int, end: int) -> str:
    """The text of some ids of a row, special tokens and the space before the first one included."""
    before, whole = _decode(tokenizer, ids[:start]), _decode(tokenizer, ids[:end])
    return whole[len(before) :] if whole.startswith(before) else _decode(tokenizer, ids[start:end])


def _decode(tokenizer: object, ids: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)  # type: ignore[attr-defined]
    )


def visible(text: str) -> str:
    """A text that no terminal obeys, whose line ends are seen."""
    from harness.deciding.surfaces.text import printable

    return "\n".join(printable(line) for line in text.replace("\n", "↵\n").split("\n"))
