"""What a loss is by its definition, for tests to hold the trainer against."""

import torch

from harness.training.audit import IGNORED


def row_losses(model, token_rows):
    """Summed loss and trained tokens of each row, one row at a time and unpadded."""
    for row in token_rows:
        labels = torch.tensor(row.labels)[1:]
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0, :-1]
        picked = torch.log_softmax(logits, dim=-1)[torch.arange(len(labels)), labels.clamp(min=0)]
        yield -float(picked[labels != IGNORED].double().sum()), int((labels != IGNORED).sum())


def token_mean(model, token_rows):
    """Mean loss over the trained tokens of all rows."""
    summed, trained = map(sum, zip(*row_losses(model, token_rows), strict=True))
    return summed / trained
