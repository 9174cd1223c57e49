"""Weights read from and written to a file of safetensors (https://github.com/huggingface/safetensors#format).

The library maps a file into memory: whoever writes to the file later changes the tensors, so they would have
to be copied once the hash of the file was compared. Here each tensor is read into memory of its own, once,
and what is hashed is what was read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LARGEST = 100 << 20  # bytes of a header, as the library has it
_STEP = 4 << 20  # bytes that are read and hashed at once


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by name, and its sha256. Raises ValueError for what is no such file, OSError."""
    with path.open("rb", buffering=0) as file:
        found, seen = dict[str, Tensor](), hashlib.sha256()
        length = _bytes(file, 8, seen)
        size = int.from_bytes(length, "little")
        if size > _LARGEST:
            raise ValueError("its header is too long for a file of safetensors")
        entries, end = _entries(bytes(_bytes(file, size, seen)))
        if os.fstat(file.fileno()).st_size != 8 + size + end:
            raise ValueError("it is not as long as its header says")
        for name, kind, shape in entries:
            tensor = found[name] = torch.empty(shape, dtype=kind, device="cpu")
            if tensor.numel():  # else it has no bytes to view
                held: Any = tensor.reshape(-1).view(torch.uint8).numpy()
                _fill(file, memoryview(held), seen)
    return found, seen.hexdigest()


def write_pieces(
    path: Path,
    tensors: Mapping[str, Tensor],
    others: Mapping[str, tuple[tuple[int, ...], Iterable[Tensor]]],
    **about: str,
) -> None:
    """Write a file of safetensors. others: by name, the shape of a tensor in single precision, and its rows,
    some at a time. about: texts that go along. Raises ValueError where rows are more or fewer, OSError."""
    kinds = {dtype: name for name, dtype in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **about}}
    end = 0
    shapes = {name: (kinds[x.dtype], tuple(x.shape), x.dtype.itemsize) for name, x in tensors.items()}
    shapes |= {name: ("F32", shape, 4) for name, (shape, _) in others.items()}
    for name, (kind, shape, size) in sorted(shapes.items(), key=lambda item: (-item[1][2], item[0])):
        begin, end = end, end + math.prod(shape) * size
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in list(header)[1:]:
            first, last = header[name]["data_offsets"]
            for piece in [tensors[name]] if name in tensors else others[name][1]:
                if piece.numel():  # else it has no bytes to view
                    held: Any = piece.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                    first += file.write(memoryview(held))
            if first != last:
                raise ValueError(f"{name} is not as large as its shape says")


def _entries(header: bytes) -> tuple[list[tuple[str, torch.dtype, list[int]]], int]:
    """The tensors of a header, in the order of the file, and how many bytes they have together. Raises
    ValueError."""
    try:
        raw: dict[str, Any] = json.loads(header)
        raw.pop("__metadata__", None)
        entries = sorted(raw.items(), key=lambda item: tuple(item[1]["data_offsets"]))
        found, end = list[tuple[str, torch.dtype, list[int]]](), 0
        for name, entry in entries:
            kind, shape = _DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]]
            begin, own = entry["data_offsets"]
            if begin != end or own - begin != math.prod(shape) * kind.itemsize or min(shape, default=0) < 0:
                raise ValueError
            found.append((name, kind, shape))
            end = own
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("its header is not one of safetensors") from None
    return found, end


def _bytes(file: BinaryIO, size: int, seen: Any) -> memoryview:
    found = memoryview(bytearray(size))
    _fill(file, found, seen)
    return found


def _fill(file: BinaryIO, whole: memoryview, seen: Any) -> None:
    """Read a file's next bytes, as many as there is room for. Raises ValueError where it has fewer."""
    at = 0
    while at < len(whole):
        part = whole[at : at + _STEP]
        count = file.readinto(part)  # type: ignore[attr-defined]
        if not count:
            raise ValueError("it ends too early")
        seen.update(part[:count])
        at += count
