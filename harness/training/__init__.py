"""Trainings: `train` (in `harness.training.trainer`) makes an adapter of a recipe and rows; the rest says what and whether.

Importing this package loads neither torch nor trl; importing `harness.training.trainer` does.
"""

from harness.training.checkpoints import find_training
from harness.training.recipe import TrainingPlan, TrainingRow, training_key, training_rows, training_steps

__all__ = ["TrainingPlan", "TrainingRow", "find_training", "training_key", "training_rows", "training_steps"]
