"""Placement, on graphs alone: where values are computed, and what moves between devices."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specc.driver import check_source, load_source
from specc.ir.graph import Graph, Node, walk
from specc.passes import optimise, prepared
from specc.passes.placement import check_places, device_of_weight, moves, place, placeable
from specc.report import Report
from specc.source import Source

# Everything that has a place: tables, spaces, learned values, layers, blocks (called twice), a scan,
# bindings, predictions, losses.
SPEC = """
model placed
table items = vocab(1000, 4)
table cats = vocab(50, 4)
space user from request { id: vocab(500, 4), age: number(standard) }
space ad from candidate { item: items, cat: cats }
space history[t <= 10] from request { item: items, cat: cats }
learned w_t[t, 1]
learned shift[4]
layer shared = linear(4)

attention activation(query[e], key[t, d]) -> [d] {
  score = dot(query |> linear(d, bias = false), key)
  weight = softmax(score, over t)
  return sum(weight * key, over t)
}

encoder walk(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = concat(x, h) |> linear(n) |> tanh
  }
  return h
}

target = concat(ad.item, ad.cat)
seen = history + w_t
h = walk(seen, n = 8)
both = activation(target, seen) + activation(target, h)
profile = user.id |> shared |> relu |> shared
joined = concat(both, profile + shift, user.age)
predict click: binary = joined |> linear(4) |> relu |> linear(1)
loss near = 0.1 * mse(both, target)
"""
DEVICES = """
device host = "cpu"
device one = "cuda:0"
device two = "cuda:1"
"""


def graph_of(places: str = "", spec: str = SPEC) -> Graph:
    report = Report()
    graph = load_source(Source("placed.arec", spec + (DEVICES + places if places else "")), None, {}, report)
    assert graph is not None, [d.message for d in report]
    return graph


def placed(places: str, spec: str = SPEC) -> Graph:
    return place(prepared(graph_of(places, spec)))


def devices_of(graph: Graph, op: str) -> list[str | None]:
    return [n.device for n in walk(graph.nodes) if n.op == op]


def transfers(graph: Graph) -> set[tuple[str, str, str]]:
    return {(m.value, m.origin, m.destination) for m in moves(graph) if m.origin != "batch"}


def faults(places: str, spec: str = SPEC) -> list[tuple[str, str]]:
    """Code and underlined text of everything that is said about a spec."""
    report = Report()
    check_source(Source("placed.arec", spec + DEVICES + places), None, {}, report)
    return [(d.code, d.span.text) for d in report]


def messages(places: str, spec: str = SPEC) -> list[tuple[str, str]]:
    """Code and message of everything that is said about a spec."""
    report = Report()
    check_source(Source("placed.arec", spec + DEVICES + places), None, {}, report)
    return [(d.code, d.message) for d in report]


def test_without_places_nothing_changes() -> None:
    graph = prepared(graph_of())
    assert place(graph) is graph
    assert moves(graph) == ()
    assert device_of_weight(graph) == {}


def test_tables_are_looked_up_where_they_are_and_their_rows_move() -> None:
    graph = placed("place items, cats on host\nplace rest on one")
    assert {
        graph.node(n.id).device for n in graph.nodes if n.op == "embed" and n.weights[0] != "user.id.weight"
    } == {"host"}
    assert transfers(graph) == {
        (v, "host", "one") for v in ("history.item", "history.cat", "ad.item", "ad.cat")
    }
    homes = device_of_weight(graph)
    assert homes.pop("items.weight") == homes.pop("cats.weight") == "host"
    assert set(homes.values()) == {"one"}


def test_bytes_are_of_packed_rows_at_the_bound() -> None:
    found = {m.value: m.bytes for m in moves(placed("place items on host\nplace rest on one"))}
    assert found["history.item"] == 10 * 4 * 4  # positions, channels, bytes
    assert found["ad.item"] == 4 * 4
    assert found["user.age"] == 4
    assert found["user.id"] == found["ad.cat"] == 8
    assert found["history.cat"] == 10 * 8
    assert found["length of history.t"] == 8
    assert found["label of click"] == 4


def test_what_the_host_reads_of_a_batch_does_not_move() -> None:
    graph = placed("place rest on host")
    assert moves(graph) == ()
    assert {n.device for n in walk(graph.nodes)} == {"host"}


@pytest.mark.parametrize(
    ("places", "what"),
    [
        ("place items on two", lambda n: "items.weight" in n.weights),
        ("place history on two", lambda n: n.op == "concat" and n.name == "history"),
        ("place user on two", lambda n: n.attrs.get("field") in ("user.id", "user.age")),
        ("place w_t on two", lambda n: n.weights == ("w_t",)),
        ("place shared on two", lambda n: "shared.linear.weight" in n.weights),
        ("place activation on two", lambda n: ".activation" in n.scope),
        ("place walk on two", lambda n: n.scope == "h.walk" and n.op == "scan"),
        ("place both on two", lambda n: n.scope.startswith("both")),
        ("place click on two", lambda n: n.scope.startswith("click")),
        ("place near on two", lambda n: n.scope.startswith("near")),
        ("place profile on two", lambda n: n.name == "profile" or (n.op == "relu" and n.scope == "profile")),
    ],
)
def test_whatever_has_a_name_has_a_place(places: str, what: object) -> None:
    graph = placed(f"place rest on one\n{places}")
    assert callable(what)
    found = [n for n in graph.nodes if n.op not in ("constant", "transfer") and what(n)]
    assert found
    assert {n.device for n in found} == {"two"}
    others = [n for n in graph.nodes if n.op not in ("constant", "transfer") and not what(n)]
    assert "one" in {n.device for n in others}


def test_the_innermost_place_holds() -> None:
    graph = placed("place both on one\nplace activation on two\nplace rest on host")
    inside = {n.device for n in graph.nodes if ".activation" in n.scope and n.op != "transfer"}
    assert inside == {"two"}
    assert [n.device for n in graph.nodes if n.name == "both" and n.op == "add"] == ["one"]


def test_an_instance_is_placed_by_its_path() -> None:
    graph = graph_of("place rest on one")
    graph = place(prepared(replace(graph, places={**graph.places, "both.activation_2": "two"})))
    assert {n.device for n in graph.nodes if n.scope == "both.activation"} == {"one"}
    assert {
        n.device for n in graph.nodes if n.scope.startswith("both.activation_2") and n.op != "transfer"
    } == {"two"}


def test_a_table_within_a_space_is_placed_by_its_field() -> None:
    graph = graph_of("place rest on one")
    graph = place(prepared(replace(graph, places={**graph.places, "user.id": "host"})))
    assert device_of_weight(graph)["user.id.weight"] == "host"
    assert transfers(graph) == {("user.id", "host", "one")}


def test_tables_are_all_tables() -> None:
    graph = graph_of("place rest on one")
    graph = place(prepared(replace(graph, places={**graph.places, "tables": "host"})))
    homes = device_of_weight(graph)
    assert {p for p, d in homes.items() if d == "host"} == {"items.weight", "cats.weight", "user.id.weight"}


def test_a_shared_layer_stays_together_and_values_come_to_it() -> None:
    graph = placed("place profile on two\nplace rest on one")
    uses = [n for n in graph.nodes if "shared.linear.weight" in n.weights]
    assert len(uses) == 2
    assert len({n.device for n in uses}) == 1


def test_a_scan_is_on_one_device_with_all_that_its_steps_read() -> None:
    graph = placed("place walk on two\nplace rest on one")
    (scan,) = [n for n in graph.nodes if n.op == "scan"]
    assert {n.device for n in walk((scan,))} == {"two"}


def test_two_names_of_one_place_need_no_moves() -> None:
    graph = placed('device also = "cuda:0"\nplace walk on also\nplace rest on one')
    assert transfers(graph) == set()


def test_without_a_rest_it_goes_where_there_is_an_accelerator() -> None:
    graph = placed("place items on host")
    assert graph.devices["rest"] == "auto"
    assert set(devices_of(graph, "scan")) == {"rest"}


def test_numbers_and_positions_are_made_where_they_are_read() -> None:
    spec = SPEC.replace("seen = history + w_t", "seen = history + w_t + 2 * index(t) / (1 + length(t))")
    graph = placed("place near on two\nplace seen on two\nplace rest on one", spec)
    moved = {graph.node(n.inputs[0]).op for n in graph.nodes if n.op == "transfer"}
    assert not moved & {"constant", "index", "length"}
    read = {i for n in graph.nodes for i in n.inputs} | set(graph.outputs)
    assert all(n.id in read for n in graph.nodes if n.op in ("constant", "index", "length"))


def test_a_name_within_a_block_does_not_take_the_place_of_one_at_the_top() -> None:
    # Within the block, `weight` is its attention's weight.
    spec = SPEC.replace("learned shift[4]", "learned shift[4]\nlearned weight[1]").replace(
        "profile + shift", "profile + shift + weight"
    )
    graph = placed("place weight on two\nplace rest on one", spec)
    assert {n.device for n in graph.nodes if n.op == "softmax"} == {"one"}
    assert {n.device for n in graph.nodes if n.weights == ("weight",)} == {"two"}


def test_a_numbered_name_is_its_own() -> None:
    spec = SPEC.replace("joined = concat(", "both_2 = both + 1\njoined = concat(both_2, ")
    graph = placed("place both on two\nplace rest on one", spec)
    assert [n.device for n in graph.nodes if n.name == "both_2"] == ["one"]


# ------------------------------------------------------------- diagnostics


@pytest.mark.parametrize(
    ("places", "code", "text"),
    [
        ("place itms on host\nplace rest on one", "E0602", "itms"),
        ("place items on hots", "E0603", "hots"),
        ("place items on host\nplace items on one", "E0604", "items"),
        ("place rest on host\nplace rest on one", "E0604", "rest"),
        ('device far = "gpu:0"\nplace rest on far', "E0601", '"gpu:0"'),
    ],
)
def test_wrong_places_are_faults_where_they_are(places: str, code: str, text: str) -> None:
    assert (code, text) in [(c, t.removeprefix("place ").partition(" on ")[0]) for c, t in faults(places)]


def test_a_device_that_nothing_is_on_is_told() -> None:
    assert [c for c, _ in faults("place rest on host")] == ["W0708", "W0708"]


def test_one_step_cannot_read_from_two_devices() -> None:
    spec = SPEC.replace(
        "layer shared", "layer gate = linear(8, bias = false)\nlayer other = linear(8)\nlayer shared"
    )
    spec = spec.replace("next h = concat(x, h) |> linear(n) |> tanh", "next h = (h |> gate) + (x |> other)")
    found = faults("place gate on one\nplace other on two\nplace rest on host", spec)
    assert [c for c, _ in found] == ["E0605"]
    assert faults("place gate on one\nplace rest on two", spec)[0][0] == "W0708"


def test_what_two_loops_share_ties_what_each_reads_beside_it() -> None:
    """`first` and `second` are never in one step, but each is in one with `gate`."""
    layers = "".join(f"layer {name} = linear(8, bias = false)\n" for name in ("gate", "first", "second"))
    block = """
encoder walk_too(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = (h |> gate) + (x |> second)
  }
  return h
}
"""
    spec = SPEC.replace("layer shared", layers + "layer shared").replace("\ntarget =", block + "\ntarget =")
    spec = spec.replace("next h = concat(x, h) |> linear(n) |> tanh", "next h = (h |> gate) + (x |> first)")
    spec = spec.replace("h = walk(seen, n = 8)", "h = walk(seen, n = 8) + walk_too(seen, n = 8)")
    assert "E0605" in [
        c for c, _ in faults("place first on one\nplace second on two\nplace rest on host", spec)
    ]


def test_a_place_where_nothing_is_is_told_with_its_span() -> None:
    spec = SPEC.replace("target = concat", "block idle(x[d]) -> [d] {\n  return x + 1\n}\n\ntarget = concat")
    found = faults("place idle on one\nplace tables on two\nplace rest on host", spec + "tables = both * 2\n")
    assert ("W0709", "idle") in found


# ------------------------------------------------------------ random places


@st.composite
def placements(draw: st.DrawFn, graph: Graph) -> Graph:
    names = sorted(placeable(graph))
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=8, unique=True))
    devices = {"a": "cpu", "b": "cuda:0", "c": "cuda:1", "d": "auto"}
    return replace(
        graph, devices=devices, places={name: draw(st.sampled_from(sorted(devices))) for name in chosen}
    )


GRAPHS = {"as written": prepared(graph_of()), "optimised": optimise(graph_of())}


@pytest.mark.parametrize("name", sorted(GRAPHS))
@given(data=st.data())
def test_every_crossing_moves_once(name: str, data: st.DataObject) -> None:
    graph = data.draw(placements(GRAPHS[name]))
    report = Report()
    check_places(graph, report)
    result = place(graph)
    devices = {n.id: n.device for n in result.nodes}
    assert all(device in result.devices for device in devices.values())
    assert len(devices) == len(result.nodes)
    for node in result.nodes:
        assert {n.device for n in walk((node,))} == {node.device}
        for i in node.inputs:
            assert devices[i] is not None
            assert (devices[i] == node.device) != (node.op == "transfer"), (
                "only transfers read from elsewhere"
            )
    crossings = {
        (i, devices[node.id])
        for node in graph.nodes
        for i in node.inputs
        if devices.get(i) not in (None, devices[node.id])
        and graph.node(i).op not in ("constant", "index", "length")
    }
    moved = [(n.inputs[0], n.device) for n in result.nodes if n.op == "transfer"]
    assert len(moved) == len(set(moved))
    assert set(moved) == crossings
    # A weight is in one place.
    homes: dict[str, set[str | None]] = {}
    for node in walk(result.nodes):
        for path in node.weights:
            homes.setdefault(path, set()).add(node.device)
    assert all(len(where) == 1 for where in homes.values())


@given(data=st.data())
def test_placing_changes_nothing_but_places(data: st.DataObject) -> None:
    """Without its transfers, a placed graph is the graph it was made from."""
    graph = data.draw(placements(GRAPHS["as written"]))
    result = place(graph)
    made = {n.id: n for n in result.nodes if n.id not in {m.id for m in graph.nodes}}

    def source(id: int) -> Node:
        node = made.get(id)
        if node is None:
            return graph.node(id)
        return source(node.inputs[0]) if node.op == "transfer" else node

    for node in graph.nodes:
        if node.op in ("constant", "index", "length"):
            continue
        again = result.node(node.id)
        assert (again.op, again.type, again.weights, again.attrs) == (
            node.op,
            node.type,
            node.weights,
            node.attrs,
        )
        for before, now in zip(node.inputs, again.inputs, strict=True):
            was, found = graph.node(before), source(now)
            assert (was.op, was.attrs, was.type) == (found.op, found.attrs, found.type)
            assert was.id == found.id or was.op in ("constant", "index", "length")
    assert result.outputs == graph.outputs


def test_places_of_a_printed_graph_are_seen() -> None:
    from specc.ir.print import print_graph

    text = print_graph(placed("place items on host\nplace rest on one"))
    assert re.search(r"= transfer\(%\d+, device = one\) \[t, 4\]  @one", text)


# ------------------------------------------------------------- sharded tables


def marked(graph: Graph) -> set[str]:
    return {path for path, weight in graph.weights.items() if weight.sharded}


def test_sharded_tables_are_marked_and_are_with_the_rest() -> None:
    assert marked(graph_of("place items, user.id on sharded")) == {"items.weight", "user.id.weight"}
    assert graph_of("place items on sharded").places == {}
    alone = placed("place items on sharded\nplace user.id on one\nplace rest on host")
    assert device_of_weight(alone)["items.weight"] == "host"
    assert device_of_weight(alone)["user.id.weight"] == "one"


def test_what_lookup_holds_beside_a_table_is_sharded_with_it() -> None:
    spec = SPEC + "predict buy: binary = (joined |> linear(1)) + lookup(ad.item)\n"
    assert marked(graph_of("place cats on sharded", spec)) == {"cats.weight"}
    found = marked(graph_of("place items on sharded", spec))
    assert "items.weight" in found
    assert len(found) == 2


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("place ad on sharded", "`ad` is a space, and tables alone are sharded"),
        ("place joined on sharded", "`joined` is a binding, and tables alone are sharded"),
        ("place w_t on sharded", "`w_t` is a learned value, and tables alone are sharded"),
        ("place walk on sharded", "`walk` is a block, and tables alone are sharded"),
        ("place rest on sharded", "tables alone are sharded"),
        ("place still on sharded", "`still` is frozen, so it cannot be sharded"),
        ("place brands on sharded", "`brands` is read as a whole, so it cannot be sharded"),
        ('device sharded = "cpu"\nplace items on sharded', "`sharded` is no name for a device"),
    ],
)
def test_what_cannot_be_sharded(place: str, message: str) -> None:
    more = """table still = vocab(50, 4, frozen = true)
table brands = vocab(50, 4)
space page from request { still: still, brand: brands }
predict brand: class(brands) = concat(joined, page) |> linear(4)
"""
    assert ("E0606", message) in messages(place, SPEC + more)


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        ("place itemz on sharded", "E0602", "there is nothing called `itemz` to place"),
        ("place user.age on sharded", "E0602", "`user.age` has no table of its own"),
        ("place ad.item on host", "E0602", "`ad.item` has no table of its own"),
        ("place user.ip on sharded", "E0602", "`user` has no field `ip` to place"),
        ("place items on shardet", "E0603", "there is no device `shardet`"),
        ("place items on sharded\nplace items on one", "E0604", "`items` is placed on two devices"),
    ],
)
def test_other_faults_of_sharded_tables(place: str, code: str, message: str) -> None:
    assert (code, message) in messages(place)


def test_a_sharded_table_that_nothing_reads_is_told() -> None:
    found = messages("place spare on sharded", SPEC + "table spare = vocab(50, 4)\n")
    assert ("W0709", "`spare` is placed on sharded, but no value of the model is there") in found
