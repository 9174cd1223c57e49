"""Keys as values: 64 bits that are equal where the raw keys are, whatever rows they have.

Promises: a field of keys is read only where something compares it.
"""

from __future__ import annotations

from dataclasses import replace

from specc.elaborate.builtins.signature import Arguments, Builtin, declare
from specc.elaborate.world import Fault, World
from specc.ir.graph import Node
from specc.ops import op
from specc.source import Span
from specc.types.axis import Type, union


def key_field(world: World, path: str, span: Span) -> str:
    """Return the path of a field that holds the keys of another, as 64 bits: they are equal where the keys
    are. Raises Fault for a field that has no key."""
    fields = (f for space in world.spaces.values() for f in space.fields)
    spec = next((f for f in fields if f.path == path), None)
    if spec is None:
        raise Fault  # its space has faults, which are reported
    if spec.encoding not in ("ids", "vocab", "hash"):
        raise world.fault(
            "E0518",
            f"`{path}` holds no keys",
            span,
            found=f"`{spec.encoding}`",
            help="keys are what `ids`, `vocab` and `hash` read",
        )
    own = f"{path}:key"
    if own not in world.keys:
        options = {k: v for k, v in spec.options.items() if k == "default"}
        world.keys[own] = replace(
            spec, path=own, name=f"{spec.name}:key", encoding="key", options=options, table=None,
            vocabulary=None, width=1,
        )  # fmt: skip
    return own


def _same(args: Arguments) -> Node:
    """Return 1 where two fields hold the same key."""
    world, frame = args.world, args.site.frame
    keys: list[Node] = []
    tables: list[str | None] = []
    for node, place in args.nodes:
        source = world.outermost(node, frame)
        path = source.attrs.get("field") if source.op in (op.EMBED, op.INPUT, op.EMBED_BAG) else None
        if path == "":
            raise Fault  # a made-up input, of a block that nothing calls
        if path is None:
            raise world.fault(
                "E0518",
                "`same` compares fields, and this is computed",
                place,
                found=str(node.type),
                help="name the fields themselves, such as `same(history.item, ad.item)`",
            )
        field = key_field(world, path, place)
        type_ = Type(world.keys[field].axes, 1)
        made = world.put(world.root, op.KEY, [], type_, place, {"field": field})
        keys.append(world.localize(made, frame))
        tables.append(source.weights[0] if source.weights else None)
    if tables[0] != tables[1]:
        raise world.fault(
            "E0518",
            "these fields read different tables",
            args.span,
            found=" and ".join(f"`{str(t).removesuffix('.weight')}`" for t in tables),
            why="a key of one table says nothing about a key of another",
            help="declare one `table`, and let both fields name it",
        )
    type_ = Type(union(*(key.type for key in keys)), 1)
    return args.add(op.SAME_KEY, keys, type_)


declare(
    Builtin(
        "same",
        "arithmetic",
        ("a", "b"),
        _same,
        "1 where two fields of one table hold the same key, else 0; a missing key is like none.",
    )
)
