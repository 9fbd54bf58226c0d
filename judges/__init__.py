"""Judges score answers. `JudgeBuilder` turns a suite's judge into an object; nothing is registered anywhere.

Each kind is one module whose docstring is its definition, with what it judges well and what ill. Judges see records and model
roles only: who loads the models is none of their business.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from harness.errors import UserError
from harness.records import Direction, Judge, Models
from harness.suite.grammar import (
    AnyJudgeSpec,
    ChoiceSpec,
    ClassificationSpec,
    ContextRelevanceSpec,
    CorrectnessSpec,
    CustomSpec,
    EntailmentSpec,
    GEvalSpec,
    HallucinationSpec,
    JsonSchemaSpec,
    OverlapSpec,
    PairwiseSpec,
    PerplexitySpec,
    RegexSpec,
    RelevancySpec,
    RetrievalSpec,
    RewardSpec,
    ToxicitySpec,
    TransformersModel,
)
from judges.graders import Findings
from judges.nli import Entailer

__all__ = ["JudgeBuilder", "direction_of"]


def direction_of(spec: AnyJudgeSpec) -> Direction:
    """Which end of a judge's scale is good."""
    if isinstance(spec, CustomSpec):
        return spec.direction
    return "lower" if isinstance(spec, HallucinationSpec | ToxicitySpec | PerplexitySpec) else "higher"


class JudgeBuilder:
    """Builds judges on one room of models. Judges on the same NLI model share its memory of pairs.

    `steps` is the folder where G-Eval steps written by a judge model are kept, so that they are written once. `trusted` is the
    folder from which custom judges may be imported; None where the user has not agreed to run a suite's code.
    """

    def __init__(self, models: Models, *, steps: Path | None = None, trusted: Path | None = None) -> None:
        self._models = models
        self._steps = steps
        self._trusted = trusted
        self._entailers: dict[str, Entailer] = {}
        self._endpoints: dict[str, Findings] = {}

    def build(self, name: str, spec: AnyJudgeSpec, *, trained: tuple[TransformersModel, Path] | None = None) -> Judge:
        """The judge whose metric is called `name`. Raises ModelError or UserError when its model cannot be had.

        `trained` is, of a judge that is trained by its suite, its base and the adapter that was made.
        """
        match spec:
            case EntailmentSpec():
                from judges.entailment import EntailmentJudge

                return EntailmentJudge(name, self._entailer(spec.model), premise=spec.premise)
            case CorrectnessSpec():
                from judges.correctness import CorrectnessJudge

                return CorrectnessJudge(name, self._entailer(spec.model), direction=spec.direction)
            case HallucinationSpec():
                from judges.hallucination import HallucinationJudge

                return HallucinationJudge(name, self._entailer(spec.model), samples=spec.samples)
            case ContextRelevanceSpec():
                from judges.retrieval import ContextRelevanceJudge

                return ContextRelevanceJudge(name, self._models.embedder(spec.model))
            case RetrievalSpec():
                from judges.retrieval import GroundingJudge

                return GroundingJudge(name, spec.kind, self._entailer(spec.model))
            case RelevancySpec():
                from judges.relevancy import RelevancyJudge

                reader = self._models.pair_classifier(spec.classifier, nli=False)
                return RelevancyJudge(name, self._models.embedder(spec.model), reader, model=spec.classifier)
            case ToxicitySpec():
                from judges.toxicity import ToxicityJudge

                classifier = self._models.text_classifier(spec.model)
                return ToxicityJudge(name, classifier, model=spec.model, toxic_labels=spec.toxic_labels)
            case GEvalSpec():
                from judges.geval import build_geval

                return build_geval(name, spec, self._models, steps_folder=self._steps, endpoints=self._endpoints)
            case PairwiseSpec():
                from judges.pairwise import build_pairwise

                return build_pairwise(name, spec, self._models, endpoints=self._endpoints)
            case RewardSpec():
                from judges.reward import RewardJudge

                if spec.model is None and trained is None:
                    raise UserError("must be trained first, by muster train or muster run; or name its 'model'")
                base, adapter = trained or (spec.model, None)
                return RewardJudge(name, self._models.reward_model(base, adapter=adapter))
            case OverlapSpec():
                from judges.overlap import OverlapJudge

                return OverlapJudge(name, spec.kind)
            case RegexSpec():
                from judges.overlap import RegexJudge

                return RegexJudge(name, spec.pattern)
            case JsonSchemaSpec():
                from judges.overlap import JsonSchemaJudge

                return JsonSchemaJudge(name, spec.json_schema)
            case PerplexitySpec():
                from judges.likelihood import PerplexityJudge

                return PerplexityJudge(name)
            case ChoiceSpec():
                from judges.likelihood import ChoiceJudge

                return ChoiceJudge(name, choices=spec.choices, normalisation=spec.normalisation)
            case ClassificationSpec():
                from judges.classification import ClassificationJudge

                return ClassificationJudge(name, spec.kind, labels=spec.labels)
            case CustomSpec():
                from judges.custom import build_custom

                return build_custom(name, spec, self._models, trusted=self._trusted)
            case _:
                assert_never(spec)

    def _entailer(self, model: str) -> Entailer:
        if model not in self._entailers:
            self._entailers[model] = Entailer(self._models.pair_classifier(model))
        return self._entailers[model]
