"""Candidates from a catalogue: vectors of its rows, an index of them, and the nearest to a request's vector.

index = Index.load("items.index")
found = Retriever.load("model", "items.index").retrieve({"user_id": "u1", "history_item": ["i3"]}, 100)
"""

from specc_runtime.retrieval.about import Made, RetrievalError
from specc_runtime.retrieval.index import Index, recall
from specc_runtime.retrieval.retriever import Found, Retriever
from specc_runtime.retrieval.stages import Stages
from specc_runtime.retrieval.vectors import Lacking, read_vectors, vectors

__all__ = [
    "Found",
    "Index",
    "Lacking",
    "Made",
    "RetrievalError",
    "Retriever",
    "Stages",
    "read_vectors",
    "recall",
    "vectors",
]
