"""Training and evaluation of compiled models."""

from specc_runtime.train.census import Baselines, count
from specc_runtime.train.checkpoint import divided_in, opened
from specc_runtime.train.choice import TrainingError, first_of
from specc_runtime.train.divided import Division, divide
from specc_runtime.train.evaluate import Evaluation, Results, evaluate
from specc_runtime.train.lazy import build_optimizer, clip_gradients, take_gradients
from specc_runtime.train.loop import Interrupted, Outcome, Progress, train
from specc_runtime.train.metrics import Metric
from specc_runtime.train.recipe import Recipe
from specc_runtime.train.report import Logger, Run
from specc_runtime.train.session import evaluate_files, fit, has_trained, is_start

__all__ = [
    "Baselines",
    "Division",
    "Evaluation",
    "Interrupted",
    "Logger",
    "Metric",
    "Outcome",
    "Progress",
    "Recipe",
    "Results",
    "Run",
    "TrainingError",
    "build_optimizer",
    "clip_gradients",
    "count",
    "divide",
    "divided_in",
    "evaluate",
    "evaluate_files",
    "first_of",
    "fit",
    "has_trained",
    "is_start",
    "opened",
    "take_gradients",
    "train",
]
