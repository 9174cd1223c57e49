"""The weights of every attention of one example, beside what they are on."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from specc import pages
from specc.report.table import aligned
from specc_runtime import Batch, Model
from specc_runtime.batch import Bag, labelled
from specc_runtime.encode import Encoders
from specc_runtime.encode.vocabulary import Vocabulary
from specc_runtime.layout import CANDIDATE

BLOCKS = " ▏▎▍▌▋▊▉█"
WIDE = 12  # characters of a bar
SQUARES = 64  # rows and columns of a picture
SHADE = "0, 150, 136"
HEADS = 8  # static places of which each has a column; of more the mean is shown


@dataclass(frozen=True)
class Line:
    """One weight: the positions it is at, by axis, what is there, and its values by static place."""

    positions: Mapping[str, int]
    what: str
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.weights) / len(self.weights)


@dataclass(frozen=True)
class Looked:
    """The weights of one attention. places: what each of the values of a line is of; empty for one."""

    path: str
    places: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Example:
    """An example: its fields without axes, its predictions with labels, and its attentions.

    `str` of it is a text for a person; a notebook shows a table and a picture of each attention.
    """

    fields: Mapping[str, str]
    predictions: Mapping[str, tuple[Any, float | None]]
    attentions: Sequence[Looked]

    def __str__(self) -> str:
        return as_text(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": as_text(self), "text/html": pages.fragment(_body(self))}


def example_of(
    model: Model, encoders: Encoders, batch: Batch, given: Mapping[str, str] = MappingProxyType({})
) -> Example:
    """Look at the one example of a batch. given: by path of a field without axes, what the data say of it,
    which stands before what the model reads where that is a number."""
    shown = {path: _texts(model, encoders, path, batch.fields[path]) for path in batch.fields}
    model.eval()
    with torch.no_grad():
        found = model(batch)
        attentions = model.attention(batch)
    predictions = {}
    for prediction in model.manifest["predictions"]:
        name = prediction["name"]
        value = found[name]
        if prediction["kind"] == "binary":
            value = value.sigmoid()
        label = batch.labels.get(name)
        known = label is not None and bool(labelled(label).all()) and label.numel() == 1
        predictions[name] = (value.flatten().tolist(), float(label) if label is not None and known else None)
    alone = {p: texts[0] for p, texts in shown.items() if not _axes(batch, p) and len(texts) == 1}
    for path in alone.keys() & given.keys():
        if _vocabulary(model, encoders, path) is None and given[path] != alone[path]:
            alone[path] = f"{given[path]} ({alone[path]})"
    return Example(
        alone,
        predictions,
        [_looked(path, weights, batch, shown) for path, weights in attentions.items()],
    )


def _axes(batch: Batch, path: str) -> tuple[str, ...]:
    return tuple(axis.id for axis in batch.schema.fields[path] if axis is not CANDIDATE)


def _texts(model: Model, encoders: Encoders, path: str, values: Tensor | Bag) -> list[str]:
    """What each row of a field holds, as text: its key where a vocabulary has it, else its row or number."""
    if isinstance(values, Bag):
        each = _texts(model, encoders, path, values.values)
        ends = values.lengths.cumsum(0).tolist()
        return [
            "{" + ", ".join(each[end - n : end]) + "}"
            for end, n in zip(ends, values.lengths.tolist(), strict=True)
        ]
    vocabulary = _vocabulary(model, encoders, path)
    if values.is_floating_point():
        return [", ".join(f"{x:.4g}" for x in row) for row in values.tolist()]
    rows = values.flatten().tolist()
    if vocabulary is None:
        return [f"row {row}" for row in rows]
    return ["unknown" if key is None else str(key) for key in vocabulary.key_of(rows)]


def _vocabulary(model: Model, encoders: Encoders, path: str) -> Vocabulary | None:
    entry = next((f for f in model.manifest["fields"] if f["path"] == path), None)
    return None if entry is None else encoders.vocabularies.get(entry["vocabulary"])


def _looked(path: str, weights: Any, batch: Batch, shown: Mapping[str, list[str]]) -> Looked:
    values = weights.values.reshape(len(weights.example), prod(weights.values.shape[1:]))
    static = weights.values.shape[1:-1]
    places = tuple(str(i) for i in range(values.shape[1])) if 1 < values.shape[1] <= HEADS else ()
    if not places:
        values = values.mean(1, keepdim=True)
    names = [name for name in weights.positions if name != CANDIDATE.id]
    of = {name: _items(name, batch, shown, names) for name in names}
    columns = {name: weights.positions[name].tolist() for name in names}
    lines = []
    for row, numbers in enumerate(values.tolist()):
        at = {name: columns[name][row] for name in names}
        key = tuple(at[name] for name in names)
        what = "; ".join(dict.fromkeys(of[name](key) for name in names if of[name](key)))
        lines.append(Line(at, what, tuple(numbers)))
    return Looked(
        path + (f" (mean of {static.numel()})" if static.numel() > HEADS else ""), places, tuple(lines)
    )


def _items(name: str, batch: Batch, shown: Mapping[str, list[str]], names: Sequence[str]) -> Any:
    """From positions along all axes to what the fields of axis `name` hold there; "" where no field, or more
    than one space, has an axis of that name."""
    ids = [id for id in batch.schema.axes if id.rpartition(".")[2] == name]
    if len(ids) != 1:
        return lambda key: ""
    (id,) = ids
    paths = [p for p in batch.fields if _axes(batch, p)[-1:] == (id,)]
    outer = [axis.rpartition(".")[2] for axis in _axes(batch, paths[0])] if paths else []
    if not paths or any(axis not in names for axis in outer):
        return lambda key: ""
    starts = _starts(batch, _axes(batch, paths[0]))

    def items(key: tuple[int, ...]) -> str:
        row = starts(tuple(key[names.index(axis)] for axis in outer))
        said = [(p.partition(".")[2], shown[p][row]) for p in paths if row < len(shown[p])]
        return ", ".join(f"{field} {text}" for field, text in said)

    return items


def _starts(batch: Batch, axes: Sequence[str]) -> Any:
    """From positions along nested axes to the row among all positions of the one example."""
    ends = [batch.lengths[axis].cumsum(0).tolist() for axis in axes]
    lengths = [batch.lengths[axis].tolist() for axis in axes]

    def row(positions: tuple[int, ...]) -> int:
        outer = 0
        for level, position in enumerate(positions):
            outer = int(ends[level][outer] - lengths[level][outer]) + position
        return outer

    return row


def as_text(example: Example) -> str:
    """Return an example for a person to read."""
    lines = [", ".join(f"{path} {text}" for path, text in example.fields.items())]
    for name, (values, label) in example.predictions.items():
        said = ", ".join(f"{value:.4f}" for value in values)
        lines.append(f"{name}: predicted {said}" + ("" if label is None else f", label {label:g}"))
    for looked in example.attentions:
        lines += ["", looked.path]
        most = max((line.mean for line in looked.lines), default=0.0)
        table = [_cells(looked, line, most) for line in looked.lines]
        lines += [f"  {line}" for line in aligned(table)] or ["  (nothing to look at)"]
    return "\n".join(lines)


def _cells(looked: Looked, line: Line, most: float) -> list[str]:
    where = " ".join(f"{axis} {place}" for axis, place in line.positions.items())
    numbers = [f"{weight:.3f}" for weight in line.weights]
    return [where, *numbers, _bar(line.mean, most), line.what]


def _bar(weight: float, most: float) -> str:
    """A bar whose length is a weight's share of the largest one; negative weights have none."""
    eighths = round(8 * WIDE * max(weight, 0.0) / most) if most > 0 else 0
    return "█" * (eighths // 8) + BLOCKS[eighths % 8].strip()


def as_data(example: Example) -> dict[str, Any]:
    """Return an example as JSON has it."""
    return {
        "fields": dict(example.fields),
        "predictions": {n: {"values": v, "label": label} for n, (v, label) in example.predictions.items()},
        "attentions": [
            {
                "path": looked.path,
                "weights": [
                    {"positions": dict(x.positions), "what": x.what, "values": list(x.weights)}
                    for x in looked.lines
                ],
            }
            for looked in example.attentions
        ],
    }


def as_html(example: Example, title: str) -> str:
    """Return an example as a page of its own."""
    return pages.page(title, _body(example))


def _body(example: Example) -> str:
    """Fields, predictions, and of each attention a table with bars; along two axes a picture of all, too."""
    parts = [pages.paragraph(", ".join(f"{path} {text}" for path, text in example.fields.items()))]
    for name, (values, label) in example.predictions.items():
        said = ", ".join(f"{value:.4f}" for value in values)
        parts.append(
            pages.paragraph(f"{name}: predicted {said}" + ("" if label is None else f", label {label:g}"))
        )
    parts += [pages.section(looked.path, _squares(looked), _bars(looked)) for looked in example.attentions]
    return "".join(parts)


def _bars(looked: Looked) -> str:
    most = max((abs(x) for line in looked.lines for x in line.weights), default=0.0)
    axes = list(looked.lines[0].positions) if looked.lines else []
    heads = [*axes, *(looked.places or ("weight",)), "of"]
    rows = []
    for line in looked.lines:
        cells = [f"<td>{place}</td>" for place in line.positions.values()]
        cells += [f"<td>{_bar_of(x, most)} {x:.3f}</td>" for x in line.weights]
        rows.append(f"<tr>{''.join(cells)}<td>{html.escape(line.what)}</td></tr>")
    if not rows:
        return pages.paragraph("nothing to look at", soft=True)
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(rows)}</table></div>'


def _bar_of(weight: float, most: float) -> str:
    """A bar whose length is a weight's share of the largest one; a negative weight is red."""
    wide = 6 * abs(weight) / most if most > 0 else 0.0
    colour = "194, 65, 12" if weight < 0 else SHADE
    style = f"display: inline-block; height: .7em; width: {wide:.2f}em; background: rgb({colour})"
    return f'<span style="{style}"></span>'


def _squares(looked: Looked) -> str:
    """Weights along two axes as shades: rows of the first, columns of the second."""
    axes = list(looked.lines[0].positions) if looked.lines else []
    if len(axes) != 2 or len({len(x.weights) for x in looked.lines}) != 1:
        return ""
    rows, columns = (sorted({x.positions[axis] for x in looked.lines}) for axis in axes)
    if len(rows) > SQUARES or len(columns) > SQUARES:
        return ""
    most = max(x.mean for x in looked.lines)
    size, drawn = 14, []
    for line in looked.lines:
        y, x = (line.positions[axis] for axis in axes)
        shade = max(line.mean, 0.0) / most if most > 0 else 0.0
        drawn.append(
            f'<rect x="{size * columns.index(x)}" y="{size * rows.index(y)}" width="{size - 1}"'
            f' height="{size - 1}" fill="rgb({SHADE})" fill-opacity="{shade:.3f}">'
            f"<title>{html.escape(f'{axes[0]} {y}, {axes[1]} {x}: {line.mean:.3f}')}</title></rect>"
        )
    wide, tall = size * len(columns), size * len(rows)
    said, style = html.escape(f"rows {axes[0]}, columns {axes[1]}"), f"width: {wide}px; height: {tall}px"
    svg = f'<svg viewBox="0 0 {wide} {tall}" style="{style}" role="img" aria-label="{said}">'
    return f'<p class="soft">{said}</p>{svg}{"".join(drawn)}</svg>'
