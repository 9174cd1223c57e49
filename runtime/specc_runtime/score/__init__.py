"""Scoring the candidates of requests."""

from specc_runtime.score.requests import Scored, read_requests, score

__all__ = ["Scored", "read_requests", "score"]
