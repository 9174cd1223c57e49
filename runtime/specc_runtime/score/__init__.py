"""Predictions of a trained model: for rows, and for the candidates of requests."""

from specc_runtime.score.answers import answers
from specc_runtime.score.prebuilt import prebuild
from specc_runtime.score.requests import Scored, best, has_candidates, narrowed, read_requests, score
from specc_runtime.score.rows import names_of, predict
from specc_runtime.score.scorer import Scorer, Scores

__all__ = [
    "Scored",
    "Scorer",
    "Scores",
    "answers",
    "best",
    "has_candidates",
    "names_of",
    "narrowed",
    "prebuild",
    "predict",
    "read_requests",
    "score",
]
