"""A program: one model with everything it uses, by name.

Promises: after `resolve`, every declaration of the model (its `extends` bases merged in) and of its
libraries is found under one name; duplicates, unknown libraries and cycles of files have been
reported. Leaves types, widths and expressions to `graph.elaborate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from specc.frozen import dataclass
from specc.source import Span
from specc.syntax import tree


@dataclass(frozen=True)
class Taken(tree.Binding):
    """One name of `x, y = block(…)`; its value is the call, of whose results it is the one numbered so."""

    of: tree.Unpack
    number: int


Named = (
    tree.Param | tree.Table | tree.Space | tree.Learned | tree.Layer | tree.Block
    | tree.Binding | tree.Predict | tree.Output | tree.Loss | tree.Device
)  # fmt: skip

KIND_WORDS: Mapping[type, str] = {
    tree.Param: "param",
    tree.Table: "table",
    tree.Space: "space",
    tree.Learned: "learned value",
    tree.Layer: "layer",
    tree.Block: "block",
    tree.Binding: "binding",
    Taken: "binding",
    tree.Predict: "prediction",
    tree.Output: "output",
    tree.Loss: "loss",
    tree.Device: "device",
}


def taken(item: tree.Unpack) -> list[Taken]:
    """Return a binding for each name of `x, y = block(…)`."""
    return [
        Taken(ident, item.value, item, number, span=item.span, doc=item.doc)
        for number, ident in enumerate(item.idents)
    ]


def kind_of(item: Named) -> str:
    """Return the word for a declaration: "param", "table", …; of a block its own, such as "encoder"."""
    return item.kind if isinstance(item, tree.Block) else KIND_WORDS[type(item)]


@dataclass
class Module:
    """One file's declarations. `uses` maps a name to a module, `members` to one of its blocks."""

    name: str
    kind: str  # "model" | "library"
    ident: tree.Ident
    named: dict[str, Named] = field(default_factory=dict)
    requires: list[tree.Require] = field(default_factory=list)
    places: list[tree.Place] = field(default_factory=list)
    trains: list[tree.Train] = field(default_factory=list)
    uses: dict[str, Module] = field(default_factory=dict)
    members: dict[str, tuple[Module, str]] = field(default_factory=dict)
    use_spans: dict[str, Span] = field(default_factory=dict)
    doc: str | None = None
    edition: int = 1


@dataclass
class Program:
    """`prelude` finds a block of the standard library by name (read on first use)."""

    main: Module
    prelude: Callable[[str], tuple[Module, tree.Block] | None]
    prelude_names: tuple[str, ...]
    dropped: Mapping[str, Span] = field(default_factory=dict)  # what `extends` takes away, and where
    libraries: Callable[[], list[str]] = list  # every library and model that could be brought in

    def block(self, module: Module, name: str) -> tuple[Module, tree.Block] | None:
        """Return the block a bare name means in a module: its own, one it uses, the prelude's."""
        own = module.named.get(name)
        if isinstance(own, tree.Block):
            return module, own
        if name in module.members:
            source, member = module.members[name]
            found = source.named.get(member)
            if isinstance(found, tree.Block):
                return source, found
        if own is None:
            return self.prelude(name)
        return None
