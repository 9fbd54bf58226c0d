"""How evidence becomes a score: a weighted sum of a few features, squashed to a probability (logistic regression).

The weights lie in JSON files beside their cards under `judges/models/`, fitted on labelled sets by
`python -m judges.models.fit_evidence`. The sign of each weight is fixed beforehand: more support never counts against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.records import fingerprint

FOLDER = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class Weights:
    """Intercept and weights of the features, and the NLI model (name and key) whose probabilities they were fitted on."""

    intercept: float
    coefficients: Mapping[str, float]
    fitted_with: str
    fitted_key: str

    @property
    def key(self) -> str:
        return fingerprint([self.intercept, dict(self.coefficients)])

    def probability(self, features: Mapping[str, float]) -> float:
        """From 0 to 1. Raises KeyError when a feature is missing."""
        total = self.intercept + sum(weight * features[name] for name, weight in self.coefficients.items())
        return 1 / (1 + math.exp(-total)) if total > -700 else 0.0

    def explain(self, features: Mapping[str, float], key: str) -> dict[str, Any]:
        """Value and contribution of each feature, in log-odds, for the evidence of a judgement by the NLI model `key`."""
        rows = {
            name: {"value": round(features[name], 6), "contribution": round(weight * features[name], 4)}
            for name, weight in self.coefficients.items()
        }
        foreign = {} if key == self.fitted_key else {"weights_fitted_with": self.fitted_with}
        return {"features": rows, "intercept": round(self.intercept, 4), **foreign}


@cache
def read_weights(judge: str, part: str) -> Weights:
    """The weights of one part of a judge, from `judges/models/<judge>/weights.json`."""
    document = json.loads((FOLDER / judge / "weights.json").read_text(encoding="utf-8"))
    row = document["parts"][part]
    return Weights(row["intercept"], row["coefficients"], document["fitted_with"], document["fitted_key"])
