"""What judges ask of candidates beyond their answers: further answers, and how likely given texts are.

Each is asked once, whichever judge wants it and however often: it is keyed by content, goes to the candidate's spool as soon
as it is there, and is taken from the store where an earlier run has it. Failures are never kept; the case they belong to is
unscored with the reason, and tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from harness.records import Completion, Failure, Likelihood, Needs, Probe, Prompt, Sample
from harness.running.stages import Stages, completed
from harness.store import Spool

CachedProbes = Callable[[Sequence[str]], Mapping[str, Probe]]


class Probed(Protocol):
    """What probing needs of a candidate."""

    @property
    def name(self) -> str: ...

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]: ...

    def draw_key(self, prompt: Prompt, number: int) -> str: ...

    def draw(self, prompts: Sequence[Prompt], number: int) -> Iterator[list[tuple[int, Completion]]]: ...

    def likelihood_key(self, prompt: Prompt, text: str) -> str: ...

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a judge asked for of one sample: further answers in order, then likelihoods in order."""

    probes: tuple[Probe, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        return tuple(probe.text for probe in self.probes if probe.kind == "sample")

    @property
    def likelihoods(self) -> tuple[Likelihood, ...]:
        return tuple(
            Likelihood(text=probe.text, log_likelihood=probe.log_likelihood, tokens=probe.tokens)
            for probe in self.probes
            if probe.log_likelihood is not None and probe.tokens is not None
        )

    @property
    def keys(self) -> list[str]:
        return [probe.key for probe in self.probes]


@dataclass(frozen=True, slots=True)
class _Ask:
    """One thing to ask: a further answer where `text` is None, else the likelihood of the text."""

    key: str
    prompt: Prompt
    number: int
    text: str | None


def gather(
    candidate: Probed,
    samples: Sequence[Sample],
    needs: Sequence[Needs],
    *,
    spool: Spool,
    cached: CachedProbes,
    stages: Stages,
) -> list[Gathered | Failure]:
    """What each sample's judge needs of the candidate, in order; the first failure where something cannot be had."""
    prompts = candidate.prompts(samples)
    asked = [_asks(candidate, prompt, need) for prompt, need in zip(prompts, needs, strict=True)]
    by_key = {ask.key: ask for asks in asked for ask in asks}
    known: dict[str, Probe | Failure] = {**cached(list(by_key)), **_spooled(spool)}
    draws = [ask for ask in by_key.values() if ask.text is None]
    for number in sorted({ask.number for ask in draws}):
        _draw(candidate, number, [ask for ask in draws if ask.number == number], known, spool, stages)
    _weigh(candidate, [ask for ask in by_key.values() if ask.text is not None], known, spool, stages)
    return [
        _together(candidate.name, sample, [(ask, known[ask.key]) for ask in asks])
        for sample, asks in zip(samples, asked, strict=True)
    ]


def _asks(candidate: Probed, prompt: Prompt, needs: Needs) -> list[_Ask]:
    draws = [_Ask(candidate.draw_key(prompt, n), prompt, n, None) for n in range(1, needs.samples + 1)]
    return draws + [_Ask(candidate.likelihood_key(prompt, text), prompt, 0, text) for text in needs.likelihoods]


def _draw(
    candidate: Probed, number: int, asks: list[_Ask], known: dict[str, Probe | Failure], spool: Spool, stages: Stages
) -> None:
    wanted = [ask for ask in asks if ask.key not in known]
    with stages.stage(f"{candidate.name} draw {number}", len(asks), done=len(asks) - len(wanted)) as advance:
        batches = candidate.draw([ask.prompt for ask in wanted], number) if wanted else iter(())
        for batch in completed(batches, len(wanted), lambda failure: Completion(text=None, error=failure)):
            found = [(wanted[index], _drawn(wanted[index], completion)) for index, completion in batch]
            _keep(found, known, spool)
            advance(len(batch))


def _weigh(
    candidate: Probed, asks: list[_Ask], known: dict[str, Probe | Failure], spool: Spool, stages: Stages
) -> None:
    if not asks:
        return
    wanted = [ask for ask in asks if ask.key not in known]
    with stages.stage(f"{candidate.name} likelihoods", len(asks), done=len(asks) - len(wanted)) as advance:
        pairs = [(ask.prompt, ask.text or "") for ask in wanted]
        batches = candidate.likelihoods(pairs) if wanted else iter(())
        for batch in completed(batches, len(wanted), lambda failure: failure):
            _keep([(wanted[index], _weighed(wanted[index], found)) for index, found in batch], known, spool)
            advance(len(batch))


def _drawn(ask: _Ask, completion: Completion) -> Probe | Failure:
    if completion.text is None:
        assert completion.error is not None  # a completion holds one of the two
        return completion.error
    return Probe(key=ask.key, candidate="", sample_id="", kind="sample", number=ask.number, text=completion.text)


def _weighed(ask: _Ask, found: Likelihood | Failure) -> Probe | Failure:
    if isinstance(found, Failure):
        return found
    return Probe(
        key=ask.key, candidate="", sample_id="", kind="likelihood", number=0, text=ask.text or "",
        log_likelihood=found.log_likelihood, tokens=found.tokens,
    )  # fmt: skip


def _keep(found: Sequence[tuple[_Ask, Probe | Failure]], known: dict[str, Probe | Failure], spool: Spool) -> None:
    spool.append([_row(probe) for _, probe in found if isinstance(probe, Probe)])
    known.update((ask.key, probe) for ask, probe in found)


def _together(name: str, sample: Sample, found: Sequence[tuple[_Ask, Probe | Failure]]) -> Gathered | Failure:
    probes = []
    for ask, probe in found:
        if isinstance(probe, Failure):
            return probe
        probes.append(replace(probe, candidate=name, sample_id=sample.id, number=ask.number))
    return Gathered(probes=tuple(probes))


def _row(probe: Probe) -> dict[str, Any]:
    return {
        "key": probe.key, "kind": probe.kind, "number": probe.number, "text": probe.text,
        "log_likelihood": probe.log_likelihood, "tokens": probe.tokens,
    }  # fmt: skip


def _spooled(spool: Spool) -> dict[str, Probe]:
    return {row["key"]: Probe(candidate="", sample_id="", **row) for row in spool.rows()}
