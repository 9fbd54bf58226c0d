"""What of a run is there already: each candidate's answers, told by content without loading a model.

Guarantees: sends nothing, trains nothing and loads no weights. Files of recorded answers are read whole, so that their
mistakes are told before anything is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import DataError, ModelError, UserError
from harness.models.candidates import Candidate, build_candidate
from harness.models.load import ModelRoom
from harness.models.recorded import RecordedAnswers
from harness.records import Completion, Training
from harness.running.plan import Plan
from harness.suite.grammar import Retrieval

CachedAnswers = Callable[[Sequence[str]], Mapping[str, Completion]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """A candidate's answers to the plan's samples that need not be asked for."""

    recorded: bool = False
    """Whether they come from a file; otherwise they are those that earlier runs stored."""
    answers: int | None = None
    """None where it takes a training, a model or a key that is not there to tell."""
    absent: tuple[str, ...] = ()
    """Samples that the file of recorded answers has none for."""


def answers_at_hand(
    plan: Plan, *, models: ModelRoom, trainings: Mapping[str, Training], cached: CachedAnswers | None
) -> dict[str, AtHand]:
    """By candidate.

    Args:
        plan: Which candidates, and which samples.
        models: Where their files are found.
        trainings: Those that are finished, by candidate.
        cached: Looks stored answers up by their keys; None where there is no store.

    Raises:
        DataError: With every mistake of every file of recorded answers.
    """
    found: dict[str, AtHand] = {}
    mistakes: list[str] = []
    suite = plan.loaded.suite
    for name in plan.candidates:
        found[name] = AtHand()
        try:
            candidate = build_candidate(
                name, plan.spec(name), suite=suite, dataset=plan.dataset, loaded=plan.loaded, models=models,
                training=trainings.get(name),
            )  # fmt: skip
        except DataError as error:
            mistakes.append(str(error))
        except (ModelError, UserError):  # said by others: an untrained candidate, a missing model or key
            continue
        else:
            found[name] = _at_hand(plan, name, candidate, cached)
    if mistakes:
        raise DataError("\n".join(mistakes))
    return found


def _at_hand(plan: Plan, name: str, candidate: Candidate, cached: CachedAnswers | None) -> AtHand:
    if isinstance(candidate.generator, RecordedAnswers):
        given = candidate.generator.completions
        absent = tuple(s.id for s in plan.samples if s.id not in given or given[s.id].text is None)
        return AtHand(recorded=True, answers=len(plan.samples) - len(absent), absent=absent)
    way = plan.spec(name).prompting
    if cached is None:
        return AtHand(answers=0)
    if isinstance(way, Retrieval) and way.encoder != "tfidf":  # its prompts take a model to make
        return AtHand()
    keys = [candidate.answer_key(prompt) for prompt in candidate.prompts(plan.samples)]
    known = cached(list(dict.fromkeys(keys)))
    return AtHand(answers=sum(key in known for key in keys))
