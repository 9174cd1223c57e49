"""Training and evaluation of compiled models."""

from specc_runtime.train.census import Baselines, count
from specc_runtime.train.checkpoint import opened
from specc_runtime.train.evaluate import Results, evaluate
from specc_runtime.train.loop import Interrupted, Outcome, Progress, TrainingError, train
from specc_runtime.train.recipe import Recipe
from specc_runtime.train.session import evaluate_files, fit, has_trained, is_start

__all__ = [
    "Baselines",
    "Interrupted",
    "Outcome",
    "Progress",
    "Recipe",
    "Results",
    "TrainingError",
    "count",
    "evaluate",
    "evaluate_files",
    "fit",
    "has_trained",
    "is_start",
    "opened",
    "train",
]
