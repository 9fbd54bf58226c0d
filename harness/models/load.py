"""Where candidates and judges get their models: each set of weights is loaded once, and only when it is first asked.

Guarantees: the key of a model is known without loading it, so a run in which everything is known already imports no
torch. A model or adapter that is missing, or does not belong, is an error when it is asked for here, before any work
is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.models import identity
from harness.records import (
    ChoiceScorer,
    Completion,
    Embedder,
    Failure,
    GenerationSettings,
    Generator,
    Likelihood,
    Message,
    PairClassifier,
    Prompt,
    RewardModel,
    ScoreSampler,
    TextClassifier,
)
from harness.suite.grammar import AnswersModel, OpenAIModel, TransformersModel

if TYPE_CHECKING:
    from harness.models.endpoint import EndpointModel, Hosts
    from harness.models.local import LocalGenerator, LocalModel
    from harness.models.reward import LocalRewardModel


class ModelRoom:
    """The models of one process; implements `records.Models`."""

    def __init__(self, root: Path, *, device: str | None = None, anywhere: bool = False) -> None:
        """`root` is the suite's folder, to which paths are relative; `device` None means the GPU if there is one.

        `anywhere` lets paths leave `root`, for models that a person named on the command line.
        """
        self._root = root
        self._anywhere = anywhere
        self._device = device
        self._locals: dict[tuple[object, ...], LocalModel] = {}
        self._hosts: Hosts | None = None
        self._user = ""
        self._pairs: dict[tuple[str, bool], PairClassifier] = {}
        self._texts: dict[str, TextClassifier] = {}
        self._embedders: dict[str, Embedder] = {}
        self._rewards: dict[str, LocalRewardModel] = {}

    # ---------------------------------------------------------------------------------------- models of the encoder

    def pair_classifier(self, name: str, *, nli: bool = True) -> PairClassifier:
        """A model of two texts by name: one for NLI, or any."""
        from harness.models.classifiers import load_pair_classifier

        if (name, nli) not in self._pairs:
            self._pairs[name, nli] = load_pair_classifier(name, self._root, nli=nli, anywhere=self._anywhere)
        return self._pairs[name, nli]

    def text_classifier(self, name: str) -> TextClassifier:
        """A text classifier by name."""
        from harness.models.classifiers import load_text_classifier

        if name not in self._texts:
            self._texts[name] = load_text_classifier(name, self._root, anywhere=self._anywhere)
        return self._texts[name]

    def embedder(self, name: str) -> Embedder:
        """A sentence encoder by name."""
        from harness.models.classifiers import load_embedder

        if name not in self._embedders:
            self._embedders[name] = load_embedder(name, self._root, anywhere=self._anywhere)
        return self._embedders[name]

    def reward_model(self, spec: Any, *, adapter: Path | None = None) -> RewardModel:
        """A reward model, with `adapter` instead of the spec's own. Raises ModelError where files are missing."""
        found = self._find(spec, adapter)
        return _LazyRewardModel(key=found.key, load=partial(self._reward_model, found))

    def _reward_model(self, found: _Found) -> LocalRewardModel:
        from harness.models.local import LocalModel
        from harness.models.reward import LocalRewardModel

        if found.key not in self._rewards:
            bare = LocalModel(found.folder, dtype=found.spec.dtype)  # of which only the dtype is used
            self._rewards[found.key] = LocalRewardModel(
                found.folder, name=found.spec.path, key=found.key, adapter=found.adapter, chat_template=found.template,
                dtype=bare.dtype,
            )  # fmt: skip
        return self._rewards[found.key]

    # ------------------------------------------------------------------------------------------ causal language models

    def generator(self, spec: Any, *, adapter: Path | None = None) -> Generator:
        """What answers prompts: a model of this machine or an endpoint. `adapter` is what a training made of the model:
        an adapter instead of the spec's own, or a whole model in its place.

        Raises UserError for recorded answers (only a candidate can have those), ModelError where files are missing.
        """
        match spec:
            case TransformersModel():
                found = self._find(spec, adapter)
                return LazyGenerator(
                    key=found.key, spec=spec, adapter=adapter, load=lambda: self._local(found).generator(found.adapter)
                )
            case OpenAIModel():
                return self._endpoint(spec)
            case AnswersModel():
                raise UserError("a model of kind 'answers' cannot answer new prompts. Use 'transformers' or 'openai'.")
            case _:
                raise TypeError(f"spec must be a model of the suite's grammar (got {type(spec).__name__})")

    def local_generator(self, spec: TransformersModel, *, adapter: Path | None = None) -> LocalGenerator:
        """As `generator`, for who needs the model behind it, its tokenizer and its adapter. Loads no weights yet."""
        found = self._find(spec, adapter)
        return self._local(found).generator(found.adapter)

    def choice_scorer(self, spec: Any) -> ChoiceScorer:
        """What scores given answers exactly. Raises UserError for models that do not run here."""
        if not isinstance(spec, TransformersModel):
            raise UserError(f"exact likelihoods need a model of kind 'transformers' (got '{spec.kind}').")
        found = self._find(spec, None)
        return _LazyChoiceScorer(key=found.key, load=lambda: self._local(found).choice_scorer(found.adapter))

    def score_sampler(self, spec: Any) -> ScoreSampler:
        """What draws short replies from an endpoint. Raises UserError for models that do not sit behind one."""
        if not isinstance(spec, OpenAIModel):
            raise UserError(f"drawn scores need a model of kind 'openai' (got '{spec.kind}').")
        return self._endpoint(spec)

    @contextmanager
    def for_user(self, name: str) -> Iterator[None]:
        """Within the block, endpoints that are asked for count what they use under this name."""
        self._user = name
        try:
            yield
        finally:
            self._user = ""

    def usage(self) -> list[dict[str, Any]]:
        """Requests, tokens, cost and latency so far, for each endpoint model and who asked it; for `Run.record`."""
        return self._hosts.usage() if self._hosts is not None else []

    def _endpoint(self, spec: OpenAIModel) -> EndpointModel:
        from harness.models.endpoint import EndpointModel, Hosts

        self._hosts = self._hosts or Hosts()
        return EndpointModel(
            name=spec.name,
            base_url=spec.base_url,
            api_key=spec.api_key,
            concurrency=spec.concurrency,
            timeout=spec.timeout,
            max_retries=spec.max_retries,
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
            max_requests=spec.max_requests,
            max_cost=spec.max_cost,
            price=(spec.price.input, spec.price.output) if spec.price is not None else None,
            user=self._user,
            hosts=self._hosts,
        )

    def _find(self, spec: TransformersModel, adapter: Path | None) -> _Found:
        folder = identity.find_folder(
            spec.path,
            root=self._root,
            what="model",
            files=identity.MODEL_FILES,
            revision=spec.revision,
            anywhere=self._anywhere,
        )
        template = self._root / spec.chat_template if spec.chat_template else None
        if adapter is None and spec.adapter is not None:
            adapter = identity.find_folder(
                spec.adapter, root=self._root, what="adapter", files=identity.ADAPTER_FILES, anywhere=self._anywhere
            )
        base = identity.base_fingerprint(folder, chat_template=template)
        if adapter is not None:
            identity.require_base(adapter, spec.path, base, template=identity.template_sha(folder, template))
        if adapter is not None and identity.is_model(adapter):
            folder, base, adapter = adapter, identity.base_fingerprint(adapter, chat_template=template), None
        key = identity.model_key(base, adapter, dtype=spec.dtype, quantization=spec.quantization)
        return _Found(key=key, spec=spec, folder=folder, template=template, base=base, adapter=adapter)

    def _local(self, found: _Found) -> LocalModel:
        """The base of a model, loaded once for all its adapters but those that train its biases."""
        from harness.models.local import LocalModel

        spec, adapter = found.spec, found.adapter
        alone = found.key if adapter is not None and identity.trains_biases(adapter) else None
        key = (found.base, spec.dtype, spec.quantization, spec.batch_tokens, alone)
        if key not in self._locals:
            self._locals[key] = LocalModel(
                found.folder,
                name=spec.path,
                dtype=spec.dtype,
                quantization=spec.quantization,
                chat_template=found.template,
                batch_tokens=spec.batch_tokens,
                device=self._device,
            )
        return self._locals[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A model that is there and whole, but not loaded."""

    key: str
    spec: TransformersModel
    folder: Path
    template: Path | None
    base: str
    adapter: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyGenerator:
    """A model of this machine that is loaded when it is first asked, and what it is made from."""

    key: str
    spec: TransformersModel
    adapter: Path | None
    """What a training made of the model, if it is asked for so."""
    load: Callable[[], LocalGenerator]

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        if pairs:
            yield from self.load().likelihoods(pairs)

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        if prompts:
            yield from self.load().generate(prompts, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LazyChoiceScorer:
    key: str
    load: Callable[[], ChoiceScorer]

    def log_likelihoods(self, prompts: Sequence[tuple[Message, ...]], choices: Sequence[str]) -> list[list[float]]:
        return self.load().log_likelihoods(prompts, choices) if prompts else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _LazyRewardModel:
    key: str
    load: Callable[[], RewardModel]

    def rewards(self, answered: Sequence[tuple[str, str]]) -> list[float | Failure]:
        return self.load().rewards(answered) if answered else []
