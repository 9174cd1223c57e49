"""Nested dicts and lists of tensors and plain values, such as an optimizer's state, as JSON and tensors.

Promises: `unpack(*pack(value))` is the value again, with the same bits, and dicts keep their order and the
types of their keys. Nothing is pickled: what is none of these is a TypeError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def pack(value: Any) -> tuple[str, dict[str, Tensor]]:
    """The JSON of a value, and by name the tensors that it speaks of, no two of them in the same memory."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()  # where in memory: a file has every tensor by itself

    def packed(value: Any) -> Any:
        match value:
            case Tensor():
                name = str(len(tensors))
                kept = value.detach().cpu().contiguous()
                place = kept.untyped_storage().data_ptr()
                tensors[name] = kept.clone() if place in seen else kept
                seen.add(place)
                return {"tensor": name}
            case None | bool() | int() | float() | str():
                return value
            case list():
                return [packed(inner) for inner in value]
            case tuple():
                return {"tuple": [packed(inner) for inner in value]}
            case Mapping():
                return {"dict": [[packed(key), packed(inner)] for key, inner in value.items()]}
        raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint")

    return json.dumps(packed(value)), tensors


def unpack(text: str, tensors: Mapping[str, Tensor]) -> Any:
    """Raises ValueError or KeyError where the text is not what `pack` gives."""

    def unpacked(value: Any) -> Any:
        if isinstance(value, list):
            return [unpacked(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        ((kind, inner),) = value.items()
        match kind:
            case "tensor":
                return tensors[inner]
            case "tuple":
                return tuple(unpacked(part) for part in inner)
            case "dict":
                return {unpacked(key): unpacked(part) for key, part in inner}
        raise ValueError(f"{kind!r} is not known")

    return unpacked(json.loads(text))
