"""The picture of a model: what is in it, and that whatever stands in a spec can be drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from specc import resources
from specc.cli import main
from specc.driver import load_source
from specc.passes import prepared
from specc.passes.placement import place
from specc.report import Report
from specc.show.mermaid import mermaid
from specc.show.page import html
from specc.show.scene import Detail, Scene, scene
from specc.show.svg import svg
from specc.source import Source
from tests.oracle.constructs import CONSTRUCTS

MODELS = ["afm", "atrank", "bst", "dien", "din", "dsin", "dstn"]
SMALL = """\
# A <small> & "simple" model
model small

table items = ids(100, 4)

space user from request { id: ids(9, 4) }
space ad from candidate { item: items }
space seen[t <= 5] from request { item: items }

layer tower = mlp([8, 4])

attention interest(query[d], key[t, d]) -> [d] {
  score  = dot(query |> linear(d), key)
  weight = softmax(score, over t)
  return sum(weight * key, over t)
}

left  = tower(ad)
right = tower(user)
found = interest(ad, seen)

predict click: binary = concat(left, right, found) |> linear(1)
loss apart = sum(left * right)

device host  = "cpu"
device dense = "auto"
place items on host
place rest on dense
"""


def drawn(text: str, detail: Detail = "bindings") -> Scene:
    report = Report()
    graph = load_source(Source("small.arec", text), None, {}, report)
    assert graph is not None, list(report)
    return scene(place(prepared(graph)), detail)


def shipped(name: str) -> Scene:
    path = resources.specs() / f"{name}.arec"
    return drawn(path.read_text(encoding="utf-8"))


def test_a_box_for_each_part_with_what_it_is() -> None:
    boxes = {box.title: box for box in drawn(SMALL).boxes}
    assert {title: box.kind for title, box in boxes.items()} == {
        "user": "space",
        "ad": "space",
        "seen[t ≤ 5]": "space",
        "tower": "value",
        "score": "value",
        "weight": "weight",
        "return": "value",
        "click: binary": "predict",
        "loss apart": "loss",
    }
    assert boxes["tower"].lines == ("mlp 8·4 relu",)
    assert boxes["tower"].parameters == 4 * 8 + 8 + 8 * 4 + 4
    assert boxes["weight"].lines == ("softmax over t",)
    assert boxes["seen[t ≤ 5]"].lines == ("item: ids [4]",)
    assert boxes["click: binary"].place == "small.arec:22"


def test_roles_and_devices() -> None:
    boxes = {box.title: box for box in drawn(SMALL).boxes}
    assert [t for t, box in boxes.items() if box.role == "request"] == ["user", "seen[t ≤ 5]"]
    assert {t for t, box in boxes.items() if box.device == "host"} == {"ad", "seen[t ≤ 5]"}
    unplaced = drawn(SMALL[: SMALL.index("device")])
    assert {box.device for box in unplaced.boxes} == {None}


def test_blocks_are_frames() -> None:
    shown = drawn(SMALL)
    assert [(c.title, c.parent) for c in shown.clusters] == [("found · attention interest", None)]
    inside = {box.title for box in shown.boxes if box.cluster == shown.clusters[0].key}
    assert inside == {"score", "weight", "return"}
    assert not drawn(SMALL, "blocks").clusters


def test_numbers_are_of_instances_or_of_names() -> None:
    shown = drawn(
        "model m\nspace ad from candidate { item: ids(9, 4) }\n"
        "x_2 = ad |> mlp([3]) |> mlp([2])\npredict click: binary = x_2 |> linear(1)\n"
    )
    assert [box.title for box in shown.boxes] == ["ad", "mlp", "mlp", "click: binary"]
    named = drawn(
        "model m\nspace ad from candidate { item: ids(9, 4) }\n"
        "x_2 = ad * 2\npredict click: binary = x_2 |> linear(1)\n"
    )
    assert [box.title for box in named.boxes] == ["ad", "x_2", "click: binary"]


def test_what_a_block_learns_stands_in_its_frame() -> None:
    shown = drawn(
        "model m\nspace ad from candidate { item: ids(9, 4) }\n"
        "block scale(x[d]) -> [d] {\n  learned w[d]\n  y = x * w\n  return y + x\n}\n"
        "big = scale(ad)\npredict click: binary = big |> linear(1)\n"
    )
    boxes = {box.title: box for box in shown.boxes}
    assert boxes["w"].cluster == boxes["y"].cluster == shown.clusters[0].key
    assert shown.clusters[0].title == "big · scale"


def test_every_output_has_a_box() -> None:
    shown = drawn(
        "model m\nspace ad from candidate { price: number, v: vector(4) }\nlearned c[1]\n"
        "x = ad.v |> linear(1)\npredict a: real = ad.price\npredict b: binary = x\n"
        "predict d: class(4) = ad.v\npredict e: real = 3\npredict f: real = c\nloss g = x\n"
    )
    outputs = {box.title: box for box in shown.boxes if box.kind in ("predict", "loss")}
    assert set(outputs) == {"a: real", "b: binary", "d: class(4)", "e: real", "f: real", "loss g"}
    titles = {box.key: box.title for box in shown.boxes}
    into = {titles[a.end]: (titles[a.start], a.label) for a in shown.arrows}
    assert into["b: binary"] == into["loss g"] == ("x", "[1]")
    assert into["d: class(4)"] == ("ad", "[4]")
    assert outputs["e: real"].lines == ("3",)


def test_a_space_that_only_a_lookup_reads() -> None:
    shown = drawn(
        "model m\nspace ad from candidate { item: ids(9, 4) }\npredict click: binary = sum(lookup(ad))\n"
    )
    assert [box.title for box in shown.boxes] == ["click: binary", "ad"]
    assert [arrow.label for arrow in shown.arrows] == ["ids"]


def test_arrows_carry_types() -> None:
    shown = drawn(SMALL)
    titles = {box.key: box.title for box in shown.boxes}
    arrows = {(titles[a.start], titles[a.end]): a.label for a in shown.arrows}
    assert arrows["seen[t ≤ 5]", "score"] == "[t, 4]"
    assert arrows["score", "weight"] == "[t, 1]"
    assert arrows["return", "click: binary"] == "[4]"
    assert ("user", "tower") in arrows
    assert ("ad", "tower") in arrows


def test_every_operation() -> None:
    words = {text for box in drawn(SMALL, "ops").boxes for text in (box.title, *box.lines)}
    assert {"softmax over t", "linear 8", "relu", "concat", "dot"} <= words


def layered(shown: Scene) -> None:
    order: dict[str, int] = {}
    waiting = {box.key: {a.start for a in shown.arrows if a.end == box.key} for box in shown.boxes}
    while waiting:
        ready = [key for key, needs in waiting.items() if needs <= order.keys()]
        assert ready, f"a circle among {sorted(waiting)}"
        for key in ready:
            order[key] = len(order)
            del waiting[key]
    for arrow in shown.arrows:
        assert re.fullmatch(r"(ids|\[[^\]]*\])(, \[[^\]]*\])*", arrow.label), arrow


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_construct_can_be_drawn(name: str) -> None:
    for detail in get_args(Detail):
        shown = drawn(CONSTRUCTS[name], detail)
        layered(shown)
        assert mermaid(shown)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("detail", get_args(Detail))
def test_shipped_models_are_layered(name: str, detail: Detail) -> None:
    path = resources.specs() / f"{name}.arec"
    shown = drawn(path.read_text(encoding="utf-8"), detail)
    layered(shown)
    assert sum(box.kind == "weight" for box in shown.boxes) > 0
    if detail != "ops":
        assert len(shown.boxes) <= 30


@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_are_drawn(name: str) -> None:
    shown = shipped(name)
    tree = ElementTree.fromstring(svg(shown))
    texts = ["".join(t.itertext()).strip() for t in tree.iter("{http://www.w3.org/2000/svg}text")]
    for box in shown.boxes:
        assert box.title in texts
    for cluster in shown.clusters:
        assert cluster.title in texts
    assert "for each candidate" in {t.strip("\u00a0") for t in texts}


def test_the_same_model_is_drawn_the_same() -> None:
    assert svg(drawn(SMALL)) == svg(drawn(SMALL))
    assert mermaid(drawn(SMALL)) == mermaid(drawn(SMALL))


def test_what_stands_in_names_is_only_shown() -> None:
    shown = drawn(SMALL)
    page = html(shown)
    assert "A &lt;small&gt; &amp; " in page
    assert "<small>" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    ElementTree.fromstring(svg(shown))
    text = mermaid(shown)
    assert text.startswith("flowchart TB\n")
    assert '-->|"[t, 4]"|' in text.replace("--> |", "-->|")
    assert "classDef candidate" in text


# ------------------------------------------------------------------ command


def show(*args: object) -> Result:
    result = CliRunner().invoke(main, ["show", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_the_ending_says_what_is_written(tmp_path: Path) -> None:
    spec = tmp_path / "small.arec"
    spec.write_text(SMALL)
    starts = {
        "svg": "<?xml",
        "html": "<!doctype html>",
        "mmd": "flowchart",
        "md": "```mermaid",
        "dot": "digraph",
    }
    for ending, start in starts.items():
        out = tmp_path / f"model.{ending}"
        assert show(spec, "-o", out).exit_code == 0
        assert out.read_text(encoding="utf-8").startswith(start)
    assert show(spec).stdout.startswith("flowchart TB\n")
    assert show(spec, "-o", tmp_path / "model.png").exit_code == 2
    # A folder is made as `compile` makes one; below a file there can be none.
    assert show(spec, "-o", tmp_path / "new" / "model.svg").exit_code == 0
    assert (tmp_path / "new" / "model.svg").is_file()
    assert show(spec, "-o", tmp_path / "model.svg" / "model.svg").exit_code == 1


def test_faults_are_reported(tmp_path: Path) -> None:
    spec = tmp_path / "small.arec"
    spec.write_text(SMALL.replace("tower(ad)", "towr(ad)"))
    result = show(spec)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "small.arec:18" in result.stderr
