"""Scores over HTTP: `python -m specc_runtime.serve MODEL`, or `specc serve MODEL`.

Needs the extra `serve`: FastAPI, uvicorn and the Prometheus client. A service that has a web framework of its
own needs `specc_runtime.score.Scorer` alone.
"""
