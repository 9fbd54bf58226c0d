"""`muster export-model CANDIDATE --to DIR`: one folder that anybody can load, with a card, held against the candidate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.models.load import ModelRoom
    from harness.models.local import Dtype as LocalDtype
    from harness.models.local import LocalGenerator
    from harness.records import Answer, Run, Sample, Training
    from harness.store import Home, Store
    from harness.suite.grammar import TransformersModel

SIZE = re.compile(r"\d+(\.\d+)?\s*(KB|MB|GB|TB)\Z")


class Dtype(StrEnum):
    """What the weights are written as."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export_model(
    candidate: Annotated[str, typer.Argument(help="A trained candidate, or one with an adapter.")],
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    suite: Annotated[
        str | None, typer.Option(help="The suite it belongs to; needed where its base is a folder beside the suite.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="The run whose results the card tells; left out, the newest that has it.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="Send it to this repository of the Hub (HF_TOKEN), private by default.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: a repository that anybody can read.")] = False,
    max_shard_size: Annotated[str, typer.Option(help="Most bytes of one weights file.")] = "4GB",
    dtype: Annotated[
        Dtype, typer.Option(help="Of the weights; auto: what the candidate computes in on this machine.")
    ] = Dtype.auto,
    sample: Annotated[
        int, typer.Option(min=1, help="Prompts of the run on which export and candidate are compared.")
    ] = 32,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Merge a candidate's adapter into its base, write model, tokenizer and card, and compare it with the candidate."""
    from rich.console import Console

    from harness.errors import UserError
    from harness.models.pushing import Target
    from harness.models.pushing import push as send
    from harness.store import Home, Store

    if not SIZE.match(max_shard_size):
        raise UserError(f"'--max-shard-size' must be a size such as 4GB or 500MB (got {max_shard_size!r}).")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"'--to' must be a new or empty folder (got {to}).")
    target = Target.of(push, public=public) if push is not None else None
    console = Console(highlight=False, markup=False, emoji=False)
    name, root = suite_of(suite)
    place = Home(home)
    with Store.open(place, read_only=True) as store:
        found = find_run(store, candidate, suite=name, run=run)
        trained = next((one for one in store.trainings(found.id) if one.candidate == candidate), None)
        answers = chosen_answers(store.answers(found.id, candidate), sample)
        samples = {one.id: one for one in store.samples(found.id)}
    if not answers:
        raise UserError(
            f"run {found.id} must hold an answer of {candidate!r} with its prompt (got none). Run it again."
        )
    console.print(f"candidate {candidate} of run {found.id}", markup=False)
    export = _Export(candidate=candidate, run=found, training=trained, root=root, home=place, hint=suite is None)
    lines = export.write(
        to, answers=answers, samples=samples, dtype=dtype.value, max_shard_size=max_shard_size, console=console
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    size = sum(path.stat().st_size for path in to.iterdir())
    console.print(f"\n  model    {to} ({size / 1e6:,.1f} MB)", markup=False, soft_wrap=True)
    console.print(f"  card     {to / 'README.md'}", markup=False, soft_wrap=True)
    if target is not None:
        address = send(to, target, message=f"{candidate} of run {found.id}")
        console.print(f"  pushed   {address}", markup=False, soft_wrap=True)


def suite_of(suite: str | None) -> tuple[str | None, Path]:
    """Name and folder of the suite that was named; without one, any suite, and the working folder.

    The suite's data need not be there: what was evaluated is in the store. Raises UserError.
    """
    from harness.errors import UserError
    from harness.suite.loading import find_source
    from harness.suite.merging import read_chain
    from harness.suite.source import to_plain

    if suite is None:
        return None, Path.cwd()
    source = find_source(suite)
    root = source.path.parent.resolve()
    document, _ = read_chain(source, root)
    name = to_plain(document).get("suite") if document is not None else None
    if not isinstance(name, str):
        raise UserError(f"'--suite' must be a suite with a name (got {suite}). See: muster check {suite}")
    return name, root


def find_run(store: Store, candidate: str, *, suite: str | None, run: str | None) -> Run:
    """The run asked for, or the newest that has the candidate. Raises UserError with the nearest candidate's name."""
    import difflib

    from harness.errors import UserError

    runs = [store.run(run)] if run is not None else store.runs()
    runs = [one for one in runs if suite is None or one.suite == suite]
    found = next((one for one in runs if candidate in one.candidates), None)
    if found is not None:
        return found
    where = (
        f"run {run}" if run is not None else f"a run of suite {suite}" if suite is not None else "a run of the store"
    )
    known = list(dict.fromkeys(name for one in runs for name in one.candidates))
    close = difflib.get_close_matches(candidate, known, 1)
    hint = f" (did you mean '{close[0]}'?)" if close else f" ({', '.join(known)})" if known else ""
    raise UserError(f"'candidate' must be one of {where} (got {candidate!r}){hint}. See 'muster runs'.")


def chosen_answers(answers: Sequence[Answer], count: int) -> list[Answer]:
    """Answers whose prompt is known, at most `count`: by the hash of the sample's id, so the same ones every time."""
    from harness.records import fingerprint

    fit = {a.sample_id: a for a in answers if a.prompt and a.completion.error is None}
    return sorted(fit.values(), key=lambda answer: fingerprint(answer.sample_id))[:count]


def rejudge(
    judges: Mapping[str, Any], models: ModelRoom, answers: Sequence[Answer], samples: Mapping[str, Sample],
    before: Sequence[str], after: Sequence[str],
) -> tuple[dict[str, float | None], dict[str, str]]:  # fmt: skip
    """Mean change of each judge's score over `answers` whose text went from `before` to `after`; and who was not asked, why.

    Only texts that differ are judged. Judges that ask an endpoint, a language model or the candidate are left out.
    """
    from pydantic import TypeAdapter

    from harness.errors import ModelError, UserError
    from harness.records import Inquirer, Needs
    from harness.running.runner import case_of, judged
    from harness.suite.grammar import AnyJudgeSpec, CustomSpec, GEvalSpec, PairwiseSpec
    from judges import JudgeBuilder

    builder = JudgeBuilder(models)
    changes: dict[str, float | None] = {}
    unasked: dict[str, str] = {}
    pairs = [(a, old, new) for a, old, new in zip(answers, before, after, strict=True) if old != new]
    for name, said in judges.items():
        spec = TypeAdapter(AnyJudgeSpec).validate_python(said)
        if isinstance(spec, GEvalSpec | PairwiseSpec | CustomSpec):
            unasked[name] = f"a judge of kind {spec.kind} costs too much, or is code"
            continue
        try:
            judge = builder.build(name, spec)
        except (ModelError, UserError) as error:
            unasked[name] = str(error).rstrip(".")
            continue
        if isinstance(judge, Inquirer) and any(judge.needs(samples[a.sample_id]) != Needs() for a, *_ in pairs):
            unasked[name] = "it asks the candidate for more than its answer"
            continue
        cases = [
            case_of(samples[a.sample_id], replace(a, completion=replace(a.completion, text=text)))
            for a, *texts in pairs
            for text in texts
        ]
        scores = [judgement.score for judgement in judged(judge, cases)] if cases else []
        known = [score for score in scores if score is not None]
        whole = len(known) == len(scores)
        changes[name] = (sum(known[1::2]) - sum(known[::2])) / len(answers) if whole else None
    return changes, unasked


class _Export:
    """One candidate of one run, on its way into a folder."""

    def __init__(
        self, *, candidate: str, run: Run, training: Training | None, root: Path, home: Home, hint: bool
    ) -> None:
        from harness.models.candidates import decoding_of
        from harness.models.load import ModelRoom
        from harness.suite.grammar import Generation

        self.candidate = candidate
        self.run = run
        self.training = training
        self.home = home
        self.suite: Mapping[str, Any] = run.record["suite"]
        """As it was resolved for the run: sweeps expanded, defaults filled in. Read part by part: what a recipe of then may
        not say today does not matter here."""
        self.spec: Mapping[str, Any] = self.suite["candidates"][candidate]
        said = self.spec.get("generation") or self.suite["generation"]
        self.settings = decoding_of(Generation.model_validate(said), seed=self.suite["seed"])
        self.models = ModelRoom(root)
        self._hint = hint

    def write(
        self,
        to: Path,
        *,
        answers: Sequence[Answer],
        samples: Mapping[str, Sample],
        dtype: LocalDtype,
        max_shard_size: str,
        console: Console,
    ) -> list[str]:
        """Writes the folder; returns what was found when it was held against the candidate, a sentence each."""
        from harness.models import identity
        from harness.models.local import LocalModel
        from harness.records import Prompt
        from harness.store import Store
        from harness.training.checkpoints import seal
        from harness.training.export import fidelity, new_folder, read, write_merged
        from reports.model_card import Export, fidelity_lines, model_card

        live = self.live()
        settings = self.settings
        prompts = [Prompt(sample_id=a.sample_id, messages=a.prompt, contexts=a.contexts) for a in answers]
        console.print(f"  answers {len(prompts)} prompts as it was judged", markup=False)
        ours = read(live, prompts, max_new_tokens=settings.max_new_tokens)
        live.model.release()
        base = self.base()
        with new_folder(to) as folder:
            console.print("  writes the model", markup=False)
            written = write_merged(
                live, folder, dtype=base.dtype if dtype == "auto" else dtype, settings=settings,
                max_shard_size=max_shard_size,
            )  # fmt: skip
            console.print("  reads it back and asks it the same", markup=False)
            exported = LocalModel(folder, name=self.candidate, dtype=base.dtype, device=live.model.device)
            theirs = read(exported.generator(), prompts, max_new_tokens=settings.max_new_tokens, along=ours.answers)
            found = fidelity(ours, theirs)
            exported.release()
            unasked: dict[str, str] = {}
            if found.same_answers < found.prompts:
                changes, unasked = rejudge(
                    self.suite["judges"], self.models, answers, samples, ours.answers, theirs.answers
                )
                found = replace(found, metrics=changes)
            adapter = identity.adapter_key(live.adapter) if live.adapter is not None else None
            training = self.training
            made_of = training.base_fingerprint if training is not None else live.model.fingerprint
            known = Export(
                base=base.path, base_fingerprint=made_of, adapter_key=adapter, dtype=written,
                quantization=base.quantization, encodes=exported.encodes,
                has_template=exported.tokenizer.chat_template is not None, settings=settings, fidelity=found, unasked=unasked,
                files={path.name: identity.file_sha256(path) for path in sorted(folder.iterdir())},
            )  # fmt: skip
            with Store.open(self.home, read_only=True) as store:
                card = model_card(store, self.run, self.candidate, known)
            (folder / "README.md").write_text(card, encoding="utf-8")
            seal(folder, {
                "candidate": self.candidate, "run": self.run.id, "base_fingerprint": made_of, "adapter": adapter,
                "training": None if training is None else training.key,
            })  # fmt: skip
        return fidelity_lines(found, unasked)

    def base(self) -> TransformersModel:
        """The model under the candidate. Raises UserError for a candidate in which nothing was trained."""
        from harness.errors import UserError
        from harness.suite.grammar import TransformersModel

        train = self.spec.get("train")
        model = self.spec["model"] if train is None else self.suite["candidates"][train["base"]]["model"]
        if model["kind"] != "transformers" or (train is None and not model.get("adapter")):
            raise UserError(
                f"'candidate' must be trained, or have an adapter (got {self.candidate!r}, which is what it was made from)."
            )
        return TransformersModel.model_validate(model)

    def live(self) -> LocalGenerator:
        """The candidate as it was judged.

        Raises UserError where its weights or settings are others than in the run, ModelError where they are gone.
        """
        from harness.errors import ModelError, UserError
        from harness.models.candidates import candidate_key

        base = self.base()
        try:
            found = self.models.local_generator(base, adapter=self._adapter())
        except ModelError as error:
            if self._hint and not base.path.startswith("embedded:"):
                raise ModelError(f"{error} If it lies beside its suite, name that: --suite SUITE.") from None
            raise
        if candidate_key(found.key, self.settings) != self.run.candidates[self.candidate]:
            raise UserError(
                f"candidate {self.candidate!r} must be the one that run {self.run.id} judged (its weights, tokenizer or "
                "decoding are others now). Run the suite again, then export."
            )
        return found

    def _adapter(self) -> Path | None:
        """Where the candidate's training lies; None where the model names its adapter itself."""
        from harness.errors import ModelError
        from harness.training.checkpoints import find_training

        if self.spec.get("train") is None:
            return None
        if self.training is not None:
            for folder in (self.home.path / "adapters", Path(self.training.path).parent):
                if find_training(folder, self.training.key) is not None:
                    return folder / self.training.key
        raise ModelError(
            f"the training of {self.candidate!r} is not in {self.home.path / 'adapters'} any more. Train it again: "
            "muster train SUITE"
        )
