"""Weights read from files of safetensors: what the library reads, or a sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from specc_runtime.artefact import write_tensors
from specc_runtime.weights import read_weights

KINDS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
         torch.int8, torch.uint8, torch.bool)  # fmt: skip


def test_they_are_what_the_library_reads(tmp_path: Path) -> None:
    shapes = ((), (0,), (3,), (2, 0), (5, 7), (2, 3, 4))
    tensors = {f"{kind} {shape}": torch.randint(0, 2, shape).to(kind) for kind in KINDS for shape in shapes}
    save_file(tensors, tmp_path / "w", metadata={"format": "pt"})
    found, hash = read_weights(tmp_path / "w")
    known = load_file(tmp_path / "w")
    assert found.keys() == known.keys()
    for name, value in known.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    assert hash == hashlib.sha256((tmp_path / "w").read_bytes()).hexdigest()


def test_who_may_read_other_files_may_read_weights(tmp_path: Path) -> None:
    """A server is often another user than who trained: safetensors alone lets nobody else read."""
    (tmp_path / "other").touch()
    write_tensors({"w": torch.ones(3)}, tmp_path / "w")
    assert (tmp_path / "w").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_writing_to_the_file_changes_no_weight(tmp_path: Path) -> None:
    save_file({"w": torch.ones(10_000)}, tmp_path / "w")
    found, _ = read_weights(tmp_path / "w")
    with (tmp_path / "w").open("r+b") as file:
        file.seek(-40_000, 2)
        file.write(bytes(40_000))
    assert bool((found["w"] == 1).all())


def header(**entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def entry(shape: object = (1,), offsets: object = (0, 4), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "ends too early"),
        (b"12345678", "header is too long"),
        ((9).to_bytes(8, "little") + b"{}", "ends too early"),
        (header(w=entry()), "not as long"),
        (header(w=entry()) + b"12345", "not as long"),
        (header(w=entry(dtype="F3")) + b"1234", "header is not"),
        (header(w=entry(shape=[-1])) + b"1234", "header is not"),
        (header(w=entry(shape=[-1, -1])) + b"1234", "header is not"),
        (header(w=entry(offsets=[4, 8])) + b"12345678", "header is not"),
        (header(w=entry(), v=entry()) + b"1234", "header is not"),
        (header(w=entry(offsets="04")) + b"1234", "header is not"),
        (header(w=entry([1 << 50], [0, 1 << 52])), "not as long"),
        (header(w=3), "header is not"),
        ((2).to_bytes(8, "little") + b"[]", "header is not"),
        ((2).to_bytes(8, "little") + b"\xff\xff", "header is not"),
        ((90_000).to_bytes(8, "little") + b"[" * 90_000, "header is not"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_weights(tmp_path / "w")
