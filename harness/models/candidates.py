"""Candidates: a model with its way of prompting and its decoding, behind one face.

Guarantees: an answer's key follows from everything that decided it (weights, adapter, tokenizer and template,
decoding, the very turns of the prompt) and from nothing else, so neither a new name nor a new place of a file makes an
answer stale, and a retrained adapter never passes for the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from harness.data import Dataset
from harness.errors import UserError
from harness.models import prompting
from harness.models.load import ModelRoom
from harness.models.recorded import load_recorded
from harness.records import (
    Completion,
    Embedder,
    Failure,
    GenerationSettings,
    Generator,
    Likelihood,
    LikelihoodScorer,
    Prompt,
    Sample,
    Training,
    fingerprint,
)
from harness.suite import LoadedSuite, Suite
from harness.suite.grammar import (
    AnswersModel,
    CandidateSpec,
    FewShot,
    Generation,
    OpenAIModel,
    Retrieval,
    TransformersModel,
    ZeroShot,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a gate decides about, ready to answer. Nothing is loaded before `generate`."""

    name: str
    key: str
    """Hash of the model's content and the decoding; prompts come in with `answer_key`."""
    settings: GenerationSettings
    generator: Generator
    ask: Callable[[Sequence[Sample]], list[Prompt]]
    by_sample: bool = False
    """Recorded answers belong to a sample, whatever it was asked."""

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]:
        """One prompt a sample, in order. Raises DataError for a row that the prompt's template cannot be made from."""
        return self.ask(samples)

    def answer_key(self, prompt: Prompt) -> str:
        """The content key of the answer to a prompt: equal keys, equal answers."""
        return fingerprint([self.key, prompt.sample_id if self.by_sample else prompt.sha])

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Completion]]]:
        """Yields batches of (index into prompts, completion) as they are done, each index once."""
        return self.generator.generate(prompts, self.settings)

    def draw_key(self, prompt: Prompt, number: int) -> str:
        """The content key of the `number`th further answer to a prompt (from 1)."""
        return fingerprint([self.generator.key, _decoding(self._drawing(number)), prompt.sha])

    def draw(self, prompts: Sequence[Prompt], number: int) -> Iterator[list[tuple[int, Completion]]]:
        """The `number`th further answer to each prompt, as `generate`: at temperature 1, each number with its own seed."""
        if self.by_sample:
            failure = Failure(kind="no_samples", message="recorded answers cannot be drawn again")
            return iter([[(index, Completion(text=None, error=failure)) for index in range(len(prompts))]])
        return self.generator.generate(prompts, self._drawing(number))

    def likelihood_key(self, prompt: Prompt, text: str) -> str:
        """The content key of a text's likelihood as the answer to a prompt; decoding does not matter to it."""
        return fingerprint([self.generator.key, "likelihood", prompt.sha, text])

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        """How likely the model finds each text as the answer to its prompt; a failure where it cannot say."""
        if isinstance(self.generator, LikelihoodScorer):
            return self.generator.likelihoods(pairs)
        message = "only a model of kind 'transformers' gives the likelihood of a text"
        failure = Failure(kind="no_likelihoods", message=message)
        return iter([[(index, failure) for index in range(len(pairs))]])

    def _drawing(self, number: int) -> GenerationSettings:
        seed = int(fingerprint([self.settings.seed, "sample", number])[:8], 16)
        return replace(self.settings, temperature=1.0, top_p=1.0, seed=seed)


def build_candidate(
    name: str,
    spec: CandidateSpec,
    *,
    suite: Suite,
    dataset: Dataset,
    loaded: LoadedSuite,
    models: ModelRoom,
    training: Training | None,
    samples: Sequence[Sample] | None = None,
) -> Candidate:
    """The candidate of a suite's entry.

    Args:
        name: its name in the suite.
        spec: its entry, sweeps expanded.
        suite: for prompt, decoding, seed and, where it is trained, its base.
        dataset: for examples, and to match recorded answers.
        loaded: for paths.
        models: where models are loaded once.
        training: what made it; needed exactly where the spec says `train`.
        samples: those that recorded answers are matched with; left out, all that are evaluated.

    Raises:
        ModelError: where model or adapter is missing or does not fit.
        UserError: for a candidate that is not trained yet, a missing variable, a split without references.
        DataError: for a broken file of recorded answers.
    """
    settings = settings_of(spec, suite)
    by_sample = isinstance(spec.model, AnswersModel)
    if samples is None:
        samples = [sample for split in suite.evaluation_splits() for sample in dataset.splits[split]]
    generator = _generator(name, spec, suite=suite, samples=samples, loaded=loaded, models=models, training=training)
    return Candidate(
        name=name,
        key=candidate_key(generator.key, None if by_sample else settings),
        settings=settings,
        generator=generator,
        ask=asker(spec, suite=suite, dataset=dataset, embedder=models.embedder),
        by_sample=by_sample,
    )


def settings_of(spec: CandidateSpec, suite: Suite) -> GenerationSettings:
    """How a candidate's answers are decoded: as its own entry says, else as the suite does."""
    return decoding_of(spec.generation or suite.generation, seed=suite.seed)


def decoding_of(generation: Generation, *, seed: int) -> GenerationSettings:
    """The settings that a part `generation` of a suite stands for."""
    return GenerationSettings(
        max_new_tokens=generation.max_new_tokens,
        temperature=generation.temperature,
        top_p=generation.top_p,
        stop=tuple(generation.stop),
        seed=seed,
    )


def candidate_key(model_key: str, settings: GenerationSettings | None) -> str:
    """The content key of a candidate: of its model and, unless its answers are recorded ones, of its decoding."""
    return fingerprint([model_key, None if settings is None else _decoding(settings)])


def _decoding(settings: GenerationSettings) -> list[object]:
    """What of the settings decides an answer: greedy decoding knows neither top_p nor seed."""
    drawn = [settings.temperature, settings.top_p, settings.seed] if settings.temperature > 0 else None
    return [settings.max_new_tokens, list(settings.stop), drawn]


def _generator(
    name: str,
    spec: CandidateSpec,
    *,
    suite: Suite,
    samples: Sequence[Sample],
    loaded: LoadedSuite,
    models: ModelRoom,
    training: Training | None,
) -> Generator:
    match spec.model:
        case None:
            assert spec.train is not None  # the grammar: exactly one of model and train
            if training is None:
                raise UserError(f"candidate '{name}' must be trained first (no training of this recipe is there).")
            base = suite.candidates[spec.train.base].model
            assert isinstance(base, TransformersModel)  # the suite's own checks hold this
            return models.generator(base, adapter=Path(training.path))
        case AnswersModel() as model:
            return load_recorded(loaded.resolve(model.path), samples)
        case TransformersModel() | OpenAIModel() as model:
            return models.generator(model)
        case _ as never:
            assert_never(never)


def asker(
    spec: CandidateSpec, *, suite: Suite, dataset: Dataset, embedder: Callable[[str], Embedder]
) -> Callable[[Sequence[Sample]], list[Prompt]]:
    """What makes a candidate's prompts of samples; `embedder` is called when retrieval needs an encoder."""
    zero = prompting.ZeroShot(template=suite.prompt, system=suite.system)
    match spec.prompting:
        case ZeroShot():
            return zero.prompts
        case FewShot(split=split, shots=shots):
            return prompting.FewShot(zero, dataset.splits[split], shots=shots, seed=suite.seed).prompts
        case Retrieval(split=split, k=k, encoder=encoder):
            encode = None if encoder == "tfidf" else lambda: embedder(encoder)
            return prompting.Retrieval(zero, dataset.splits[split], k=k, embedder=encode).prompts
        case _ as never:
            assert_never(never)
