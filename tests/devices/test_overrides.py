"""Places and devices from the command line, from YAML and from Python, over those of a spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.devices import (
    Placement,
    PlacementError,
    from_options,
    from_yaml,
    to_lines,
    to_yaml,
    with_placement,
)
from specc.driver import load_source
from specc.ir.graph import Graph
from specc.passes.placement import device_of_weight, place
from specc.report import Report
from specc.source import Source

SPEC = """
model small
table items = vocab(1000, 4)
table cats = vocab(50, 4)
space user from request { id: vocab(500, 4) }
space ad from candidate { item: items, cat: cats }
joined = concat(user, ad)
predict click: binary = joined |> linear(4) |> relu |> linear(1)
"""
PLACED = """
device host = "cpu"
device dense = "auto"
place items, cats on host
place rest on dense
"""


def graph_of(text: str) -> Graph:
    report = Report()
    graph = load_source(Source("small.arec", text), None, {}, report)
    assert graph is not None, [d.message for d in report]
    return graph


def overridden(wanted: Placement, text: str = SPEC + PLACED) -> Graph:
    report = Report()
    graph = with_placement(graph_of(text), wanted, report)
    assert not report.has_errors, [d.message for d in report]
    return graph


def faults(wanted: Placement, text: str = SPEC + PLACED) -> list[tuple[str, str, str]]:
    report = Report()
    with_placement(graph_of(text), wanted, report)
    return [(d.code, d.message, d.help) for d in report]


def homes(graph: Graph) -> dict[str, str]:
    """By owner of a weight the target of its device."""
    return {graph.weights[p].owner: graph.devices[d] for p, d in device_of_weight(place(graph)).items()}


def test_options() -> None:
    wanted = from_options(["tables=cpu", "joined, click=dense"], ["dense=cuda:1"])
    assert wanted == Placement({"dense": "cuda:1"}, {"tables": "cpu", "joined": "dense", "click": "dense"})
    assert from_options([], ["auto"]) == Placement(everywhere="auto")


def test_a_device_is_another_one() -> None:
    found = homes(overridden(from_options([], ["dense=cuda:1"])))
    assert found == {"items": "cpu", "cats": "cpu", "user.id": "cuda:1", "click": "cuda:1"}


def test_one_device_for_all() -> None:
    assert set(homes(overridden(from_options([], ["cuda:3"]))).values()) == {"cuda:3"}


def test_one_device_for_a_spec_that_says_nothing() -> None:
    graph = overridden(from_options([], ["cuda:1"]), SPEC)
    assert graph.devices == {"cuda_1": "cuda:1"}
    assert set(homes(graph).values()) == {"cuda:1"}
    assert overridden(from_options([], ["cpu"]), SPEC).places == {}


def test_all_tables_goes_before_what_the_spec_says_of_each() -> None:
    found = homes(overridden(from_options(["tables=cuda:1"], [])))
    assert found == {"items": "cuda:1", "cats": "cuda:1", "user.id": "cuda:1", "click": "auto"}


def test_one_table_goes_before_all() -> None:
    found = homes(overridden(from_options(["tables=cuda:1", "cats=dense"], [])))
    assert found == {"items": "cuda:1", "cats": "auto", "user.id": "cuda:1", "click": "auto"}


def test_places_for_a_spec_that_has_none() -> None:
    graph = overridden(from_options(["items=cpu", "rest=cuda:0"], []), SPEC)
    assert graph.devices == {"cpu": "cpu", "cuda_0": "cuda:0"}
    assert homes(graph) == {"items": "cpu", "cats": "cuda:0", "user.id": "cuda:0", "click": "cuda:0"}


def test_where_the_rest_goes_by_itself_can_be_said() -> None:
    graph = overridden(
        from_options(["items=cpu"], ["rest=cuda:2"]), SPEC + 'device h = "cpu"\nplace cats on h\n'
    )
    assert homes(graph) == {"items": "cpu", "cats": "cpu", "user.id": "cuda:2", "click": "cuda:2"}


def test_one_placement_over_another() -> None:
    first = Placement({"dense": "cuda:0"}, {"items": "dense"})
    second = Placement({"dense": "cuda:1", "host": "cpu"}, {"cats": "dense"})
    assert first.over(second) == Placement(
        {"dense": "cuda:0", "host": "cpu"}, {"items": "dense", "cats": "dense"}
    )


def test_every_option_that_cannot_be_read_is_named() -> None:
    with pytest.raises(PlacementError) as fault:
        from_options(["tables", "=cpu", "a,=cpu"], ["dense=gpu1", "=cpu", "tpu:0"])
    text = str(fault.value)
    for part in ("--place tables:", "--place =cpu:", "--place a,=cpu:", "gpu1", "--device =cpu", "tpu:0"):
        assert part in text


@pytest.mark.parametrize(
    ("wanted", "code", "message", "help"),
    [
        (from_options(["itms=cpu"], []), "E0602", "`itms`", "did you mean `items`?"),
        (from_options(["items=hots"], []), "E0603", "`hots`", "did you mean `host`?"),
        (from_options([], ["dnse=cpu"]), "E0603", "`dnse`", "did you mean `dense`?"),
        (from_options(["zzzzzzzz=qqqqqq"], []), "E0603", "`qqqqqq`", "use a declared one"),
    ],
)
def test_unknown_names_are_faults(wanted: Placement, code: str, message: str, help: str) -> None:
    assert any(c == code and message in m and help in h for c, m, h in faults(wanted))


def test_yaml(tmp_path: Path) -> None:
    file = tmp_path / "place.yaml"
    file.write_text("devices:\n  dense: cuda:1\nplaces:\n  items: dense\n  rest: dense\n")
    assert from_yaml(file) == Placement({"dense": "cuda:1"}, {"items": "dense", "rest": "dense"})
    file.write_text("")
    assert from_yaml(file) == Placement()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("places: [a, b]\n", "places"),
        ("place:\n  items: dense\n", "place"),
        ("devices:\n  dense: 1\n", "devices.dense"),
        ("devices:\n  dense: gpu:1\n", "gpu:1"),
        ("- a\n", "file"),
        ("a: [\n", "is not YAML"),
        ("!!python/object:os.system {}\n", "is not YAML"),
    ],
)
def test_a_yaml_file_that_is_wrong_is_told_by_name(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "place.yaml"
    file.write_text(text)
    with pytest.raises(PlacementError, match=r"place\.yaml") as fault:
        from_yaml(file)
    assert part in str(fault.value)


def test_a_yaml_file_that_is_not_there() -> None:
    with pytest.raises(PlacementError, match="cannot be read"):
        from_yaml("nowhere.yaml")


def test_a_placement_is_written_as_it_is_read(tmp_path: Path) -> None:
    graph = overridden(from_options(["items=cuda:1", "joined=dense"], []))
    file = tmp_path / "place.yaml"
    file.write_text(to_yaml(graph))
    again = overridden(from_yaml(file))
    assert (again.devices, again.places) == (graph.devices, graph.places)
    lines = graph_of(SPEC + to_lines(graph))
    assert (lines.devices, lines.places) == (graph.devices, graph.places)


def sharded_by(wanted: Placement, text: str) -> set[str]:
    return {w.owner for w in overridden(wanted, text).weights.values() if w.sharded}


def test_tables_are_sharded_by_an_override_or_not() -> None:
    given = SPEC + PLACED.replace("place items, cats on host", "place items on sharded\nplace cats on host")
    assert sharded_by(Placement(), given) == {"items"}
    assert sharded_by(from_options(["cats=sharded"], []), given) == {"items", "cats"}
    assert sharded_by(from_options(["items=host"], []), given) == set()
    assert sharded_by(from_options(["tables=cpu"], []), given) == set()
    assert sharded_by(from_options(["tables=sharded"], []), given) == {"items", "cats", "user.id"}
    assert sharded_by(from_options(["tables=sharded", "items=cpu"], []), given) == {"cats", "user.id"}
    found = overridden(from_options(["user.id=sharded"], []), given)
    assert found.places == {"cats": "host", "rest": "dense"}
    assert "place user.id, items on sharded" in to_lines(found)


def test_what_cannot_be_sharded_is_told() -> None:
    assert faults(from_options(["joined=sharded", "itemz=sharded"], []))[:2] == [
        ("E0606", "`itemz` is no table, and tables alone are sharded", "did you mean `items`?"),
        ("E0606", "`joined` is no table, and tables alone are sharded", "its tables: cats, items, user.id"),
    ]


def test_lines_with_sharded_tables_are_those_of_the_spec() -> None:
    graph = overridden(from_options(["items=sharded"], []))
    again = graph_of(SPEC + to_lines(graph))
    assert {w.owner for w in again.weights.values() if w.sharded} == {"items"}
    assert again.places == graph.places
