"""Raw columns to packed batches, and what is learned from the training data for it."""

from specc_runtime.encode.encoders import KEYS, Encoders
from specc_runtime.encode.faults import DataError, Fault, Origin
from specc_runtime.encode.kinds import TableEncoding
from specc_runtime.encode.pretrained import load_pretrained
from specc_runtime.encode.store import load_encoders, load_trained, save_encoders, write_encoders
from specc_runtime.encode.unknown import Unknown
from specc_runtime.encode.vocabulary import Vocabulary

__all__ = [
    "KEYS",
    "DataError",
    "Encoders",
    "Fault",
    "Origin",
    "TableEncoding",
    "Unknown",
    "Vocabulary",
    "load_encoders",
    "load_pretrained",
    "load_trained",
    "save_encoders",
    "write_encoders",
]
