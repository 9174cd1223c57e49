"""What a manifest holds, as types."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class AxisEntry(TypedDict):
    """A ragged axis of a space: `id` is "visits.step", `parent` the id of the axis it is nested in."""

    id: str
    name: str
    bound: int
    parent: str | None


class FieldEntry(TypedDict):
    """A field: its raw column (or `fallback`, if that column is absent), and how it is encoded.

    split: the separators of texts that hold lists, outermost first. axes: ids, outermost first. encoding and
    options are the spec's. table: the path of the weight that its ids index. vocabulary: fields with the same
    one share it. width: channels of the value. training: only losses read it; predictions do not need it.
    """

    path: str
    space: str
    name: str
    column: str
    fallback: str | None
    split: list[str] | None
    role: Literal["request", "candidate"]
    axes: list[str]
    encoding: str
    options: dict[str, Any]
    table: str | None
    vocabulary: str | None
    width: int
    training: bool


class CrossEntry(TypedDict):
    """A field that combines other fields: `of` has their paths. n: the rows of its table."""

    path: str
    space: str
    name: str
    role: Literal["request", "candidate"]
    axes: list[str]
    of: list[str]
    n: int
    table: str
    width: int
    training: bool


class SpaceEntry(TypedDict):
    """fields: the paths of those that read a column."""

    name: str
    role: Literal["request", "candidate"]
    axes: list[str]
    fields: list[str]


class ConditionEntry(TypedDict):
    """The label is 1 where `column op value` holds; a text is compared by == and !=, as keys are."""

    op: Literal["==", "!=", "<", "<=", ">", ">="]
    value: int | float | bool | str


class RowsEntry(TypedDict):
    """Classes that are the rows of a table, from row `first` on. table, counts, bias: paths of weights.
    vocabulary: whose keys the classes are; without one they are integers."""

    table: str
    first: int
    counts: str
    bias: str | None
    vocabulary: str | None
    encoding: str
    options: dict[str, Any]


class PredictionEntry(TypedDict):
    """A prediction. classes: 0 unless the kind is "class". column: the column of its labels, or the column
    that `condition` makes them from. range: the bounds of its labels, if the spec gives them. rows: for
    classes that are the rows of a table, which table. among: "request" of a choice
    among the candidates of a request; rows with labels are requests then, with lists of candidates and
    labels."""

    name: str
    kind: Literal["binary", "real", "class", "choice"]
    column: str
    condition: ConditionEntry | None
    classes: int
    range: list[float] | None
    rows: RowsEntry | None
    among: NotRequired[str]


class OutputEntry(TypedDict):
    """A result without a label. role: whether it depends on the request alone, on the candidate alone, or on
    both. fields: the paths of the fields that it is computed from, including crosses."""

    name: str
    width: int
    role: Literal["request", "candidate", "both"]
    fields: list[str]


class WeightEntry(TypedDict):
    """A weight. device: the name of a device of the spec, or None for a model without places. vocabulary: for
    a table whose rows stand for learned keys, the name of their vocabulary. counts: the path of the field
    whose ids are counted in the training data, for a weight that holds such counts."""

    path: str
    shape: list[int]
    kind: str
    l2: float
    l2_by_frequency: bool
    frozen: bool
    pretrained: str | None
    vocabulary: str | None
    counts: str | None
    device: str | None


class TableEntry(TypedDict):
    """An embedding table. path: of its weight. init: an initializer call, such as ["normal", 0.01].
    by_frequency: whether the penalty of a row is divided by its count. fields: the paths of all fields and
    crosses that are looked up in it, in the order in which the model reads them. whole: whether the model
    reads all of its rows, too. sharded: whether processes that train divide its rows between them, unless
    they are told otherwise."""

    path: str
    rows: int
    width: int
    dtype: str
    init: list[Any]
    l2: float
    by_frequency: bool
    frozen: bool
    fields: list[str]
    whole: bool
    sharded: bool


class AttentionEntry(TypedDict):
    """The weights of one attention. axes: their axes' names: first the ragged ones, for which
    `Model.attention` returns positions, then the static ones in the order of the tensor's dimensions."""

    path: str
    axes: list[str]


class VersionsEntry(TypedDict):
    """compiler: the version of arec. interface: the runtime interface that model.py calls."""

    compiler: str
    interface: int


class PackageEntry(TypedDict):
    """Another package that the model needs, because model.py imports its code or a field has its encoding:
    the distribution and its version."""

    name: str
    package: str
    version: str


class Manifest(TypedDict):
    """The whole manifest. packages: left out if the model needs nothing but torch and the runtime."""

    format: int
    versions: VersionsEntry
    edition: int
    name: str
    doc: str | None
    source: str
    params: dict[str, Any]
    axes: list[AxisEntry]
    spaces: list[SpaceEntry]
    fields: list[FieldEntry]
    crosses: list[CrossEntry]
    predictions: list[PredictionEntry]
    outputs: list[OutputEntry]
    losses: list[str]
    attentions: list[AttentionEntry]
    weights: list[WeightEntry]
    tables: list[TableEntry]
    devices: dict[str, str]
    places: dict[str, str]
    train: dict[str, Any]
    packages: NotRequired[list[PackageEntry]]
