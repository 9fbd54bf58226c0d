"""Encoder-decoder models (T5 and its kin): the prompt goes to the encoder, the answer is what the decoder learns to say.

The audit's rows hold prompt and answer one behind the other, as for every model, so that counting, showing and validating
them is the same; here they are taken apart again. TRL's SFTTrainer knows no encoder: transformers' own Trainer runs, with
its collator for such pairs. Guarantees: the encoder is fed what inference feeds it; every answer's tokens and its end are
trained, and nothing else; the loss of a step is the mean over its trained tokens, whatever the batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import DataCollatorForSeq2Seq, Trainer

from harness.training import processes
from harness.training.audit import IGNORED
from harness.training.loop import Watched


class PairCollator:
    """Batches of prompt and answer: `input_ids` and `attention_mask` for the encoder, `decoder_input_ids` and `labels`."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self._collate = DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=IGNORED)

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        """A batch of rows whose labels are IGNORED on the prompt and the ids on the answer behind it; of a row that fills up
        what several processes take, IGNORED all along."""
        pairs = []
        for row in rows:
            labels = list(row["labels"])
            start = next((place for place, label in enumerate(labels) if label != IGNORED), len(labels))
            pairs.append({"input_ids": list(row["input_ids"][:start]), "labels": labels[start:] or [IGNORED]})
        return dict(self._collate(pairs))


class PairTrainer(Watched, Trainer):  # type: ignore[misc]  # transformers is not typed
    """Trainer whose loss is the mean over the answers' tokens of the whole step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the step's tokens already, not by its batches

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the trained tokens' negative log-likelihoods, over the trained tokens of the whole step."""
        trained = (inputs["labels"] != IGNORED).sum(dim=1)
        tokens = int((inputs["attention_mask"].sum(dim=1) + trained)[trained > 0].sum())
        loss = self.token_loss(model, inputs, num_items_in_batch)
        self.record_loss(loss.item() / processes.world(), tokens)
        return loss

    def token_loss(self, model: Any, inputs: dict[str, Any], items: Any) -> torch.Tensor:
        """The sum of the trained tokens' negative log-likelihoods over `items`; nothing is counted.

        Of several processes it is as many times as large: DDP takes the mean of gradients that should be summed.
        """
        labels = inputs.pop("labels").flatten()
        logits = model(**inputs, use_cache=False).logits.flatten(0, 1)
        loss = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)
        return loss * processes.world() / (int((labels != IGNORED).sum()) if items is None else items)
