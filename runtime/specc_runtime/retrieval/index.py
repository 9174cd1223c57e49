"""An index of vectors: a folder with FAISS's file, the columns of the rows, and `index.json`, which has the
hash of both.

Promises: a folder is there whole or not at all; no file of it is read before its hash was compared. What is
nearest by a flat index is exact; by HNSW (https://arxiv.org/abs/1603.09320) as near as `recall` says.
Memory: all vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.files import replace_folder
from specc_runtime.record import digest
from specc_runtime.retrieval.about import Made, RetrievalError
from specc_runtime.retrieval.vectors import Vectors

ABOUT, VECTORS, ITEMS = "index.json", "index.faiss", "items.arrow"
TOGETHER = 1024  # queries that are compared exactly at once
CLOSE = 1e-5  # relative: scores so near to each other are equal

Kind = Literal["flat", "hnsw"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Index:
    """made: what the vectors are; it names a request's output and a product. items: the other columns of the
    vectors' rows, in their order. settings: of the index, as `index.json` has them."""

    made: Made
    kind: Kind
    items: pa.Table
    settings: Mapping[str, Any]
    searched: Any

    def __len__(self) -> int:
        return len(self.items)

    @staticmethod
    def build(
        made: Made,
        vectors: Vectors,
        items: pa.Table,
        kind: Kind = "flat",
        *,
        links: int = 32,
        effort: int = 64,
    ) -> Index:
        """An index of vectors [rows, width].

        links: of HNSW, how many neighbours a row keeps. effort: of HNSW, how many rows a search keeps in
        view;
            never fewer than it is asked for.
        Raises RetrievalError where FAISS is not installed, or a vector has no direction though cosines are
        compared.
        """
        faiss = needed()
        if made.product is None or made.request is None:
            raise RetrievalError(f"no score is a product with `{made.output}`: {made.why}")
        found = directed(made, vectors, "row")
        settings: dict[str, Any] = {}
        if kind == "hnsw":
            searched = faiss.IndexHNSWFlat(made.width, links, faiss.METRIC_INNER_PRODUCT)
            searched.hnsw.efConstruction = max(2 * links, 200)
            settings = {"links": links, "effort": effort}
        else:
            searched = faiss.IndexFlatIP(made.width)
        searched.add(found)
        return Index(made, kind, items, settings, searched)

    def nearest(self, vectors: Vectors, k: int) -> tuple[Floats, Ints]:
        """The products [n, k] of the nearest rows to some requests' vectors [n, width], and the rows [n, k],
        the nearest first. Where fewer than k are found, the row is -1."""
        k = min(k, len(self))
        queries = directed(self.made, vectors, None)
        if not len(queries) or not k:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        if self.kind == "hnsw":
            parameters = needed().SearchParametersHNSW()
            parameters.efSearch = max(min(int(self.settings["effort"]), len(self)), k)
            scores, rows = self.searched.search(queries, k, params=parameters)
        else:
            scores, rows = self.searched.search(queries, k)
        return scores, rows

    def save(self, folder: str | Path, more: Mapping[str, Any] | None = None) -> None:
        """Write the folder, in place of one that is an index. more: what else index.json says. Raises
        FileError."""
        with replace_folder(folder, lambda name: name in (ABOUT, VECTORS, ITEMS)) as fresh:
            (fresh / VECTORS).write_bytes(needed().serialize_index(self.searched).tobytes())
            with (
                pa.OSFile(str(fresh / ITEMS), "wb") as sink,
                pa.ipc.new_file(sink, self.items.schema) as file,
            ):
                file.write_table(self.items)
            about = {
                **json.loads(self.made.text()),
                "index": {"kind": self.kind, "rows": len(self), **self.settings, **(more or {})},
                "files": {name: digest(fresh / name) for name in (VECTORS, ITEMS)},
            }
            (fresh / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> Index:
        """The index of a folder. Raises RetrievalError where it is none, is damaged, or FAISS is absent."""
        folder = Path(folder)
        try:
            raw = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            index, files = dict(raw.pop("index")), dict(raw.pop("files"))
            kind, rows = index.pop("kind"), int(index.pop("rows"))
            if kind not in ("flat", "hnsw") or (kind == "hnsw" and not isinstance(index["effort"], int)):
                raise ValueError
        except FileNotFoundError:
            raise RetrievalError(
                f"{folder} is no index: it has no {ABOUT}; `specc index` makes one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise RetrievalError(f"{folder / ABOUT} cannot be read: {_AGAIN}") from None
        made = Made.of(raw, str(folder / ABOUT))
        if made.product is None or not isinstance(made.request, str):
            raise RetrievalError(
                f"{folder / ABOUT} does not say what its vectors are compared with: {_AGAIN}"
            )
        faiss = needed()
        try:
            searched = faiss.deserialize_index(np.frombuffer(_bytes(folder, VECTORS, files), dtype=np.uint8))
            items = pa.ipc.open_file(pa.BufferReader(_bytes(folder, ITEMS, files))).read_all()
        except (RuntimeError, pa.ArrowException) as error:
            raise RetrievalError(f"{folder} cannot be read ({error}): {_AGAIN}") from None
        if searched.ntotal != rows or len(items) != rows or searched.d != made.width:
            raise RetrievalError(f"{folder} has not the rows that its {ABOUT} says: {_AGAIN}")
        return Index(made, cast(Kind, kind), items, index, searched)


def recall(index: Index, vectors: Vectors, queries: Vectors, k: int) -> float:
    """The share of the k nearest rows to queries [n, width], by the exact products, that the index finds, 0
    to 1. Rows of equal products stand for each other. vectors: those that the index is of."""
    k = min(k, len(vectors))
    if not len(queries) or not k:
        return 1.0
    every, found = directed(index.made, vectors, "row"), 0
    for at in range(0, len(queries), TOGETHER):
        asked = directed(index.made, queries[at : at + TOGETHER], None)
        products = asked @ every.T
        least = -np.partition(-products, k - 1, axis=1)[:, k - 1]
        _, rows = index.nearest(asked, k)
        own = np.take_along_axis(products, np.maximum(rows, 0), 1)
        found += int(((rows >= 0) & (own >= (least - CLOSE * np.abs(least))[:, None])).sum())
    return found / (len(queries) * k)


def directed(made: Made, vectors: Vectors, what: str | None) -> Vectors:
    """Vectors as their inner products are compared: for cosines of length 1. what: how a vector is called in
    the message where one of zeros is a fault; without it, all its cosines are 0. Raises RetrievalError."""
    found = np.ascontiguousarray(vectors, dtype=np.float32)
    if made.product != "cosine":
        return found
    lengths = np.sqrt((found.astype(np.float64) ** 2).sum(1))
    if what is not None and (lengths == 0).any():
        row = int((lengths == 0).argmax())
        raise RetrievalError(
            f"`{made.output}` of {what} {row + 1} is 0 in all its channels: it has no direction, and by the "
            "cosine it is near to nothing; leave it out of the catalogue"
        )
    unit: Vectors = (found / np.where(lengths == 0, 1, lengths)[:, None]).astype(np.float32)
    return unit


def needed() -> Any:
    """FAISS. Raises RetrievalError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise RetrievalError(
            "an index needs FAISS, which is not installed: pip install 'arec-runtime[retrieval]'"
        ) from None
    return faiss


_AGAIN = "copy the folder again as a whole, or make it anew (`specc index`)"


def _bytes(folder: Path, name: str, files: Mapping[str, Any]) -> bytes:
    """A file of the folder, whose hash was compared. Raises RetrievalError."""
    try:
        content = (folder / name).read_bytes()
    except OSError:
        raise RetrievalError(f"{folder / name} is missing: {_AGAIN}") from None
    if hashlib.sha256(content).hexdigest() != files.get(name):
        raise RetrievalError(f"{folder / name} is not the file that was saved: {_AGAIN}")
    return content
