"""`specc dump`: each stage as text that a reader can follow back to the spec."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from specc import resources
from specc.cli import main
from specc.dump import STAGES

SPEC = """\
model small

param dim = 4 in {4, 8}

space user from request { id: ids(9, dim), age: number }
space seen[t <= 5] from request { item: ids(9, dim) }

hidden = seen.item |> gru(dim) |> last(over t)

predict click: binary = concat(user, hidden) |> linear(1)
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.arec"
    path.write_text(SPEC)
    return path


def dump(*args: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["dump", *map(str, args)], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def text(*args: object) -> str:
    result = dump(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_tree_has_every_node_with_its_place(spec: Path) -> None:
    shown = text(spec, "--stage", "tree").splitlines()
    assert shown[0].split() == ["File", "model", "small", "#", "1:1"]
    assert [line.split("#")[0].rstrip() for line in shown if " # 3:" in line] == [
        "  body: Param dim",
        "    default: Number 4",
        "    domain: Choices",
        "      items: Number 4",
        "      items: Number 8",
    ]


def test_the_program_has_declarations_and_the_blocks_they_reach(spec: Path) -> None:
    shown = text(spec, "--stage", "program")
    assert "param dim = 4 in {4, 8}" in shown
    assert "# small.arec:3" in shown
    recurrent = shown.split("library recurrent")[1]
    assert "encoder gru(x[t, d]" in recurrent
    assert "lstm" not in recurrent


def test_what_a_model_extends_is_merged_in(spec: Path) -> None:
    other = spec.parent / "other.arec"
    other.write_text("model other\nextends small {\n  param dim = 8\n}\n")
    shown = text(other, "--stage", "program")
    assert "param dim = 8" in shown
    assert "# other.arec:3" in shown
    assert "# small.arec:10" in shown


def test_the_graph_takes_overrides(spec: Path) -> None:
    assert '"seen.item.weight") [t, 4]' in text(spec)
    assert '"seen.item.weight") [t, 8]' in text(spec, "--stage", "graph", "--set", "dim=8")


def test_passes_show_what_each_changed(spec: Path) -> None:
    shown = text(spec, "--stage", "passes").split("\n== ")
    assert re.match(r"== prepared: \d+ nodes\nmodel small", shown[0])
    by_name = {part.split(":")[0]: part for part in shown[1:]}
    assert by_name["attention"].strip().endswith("(changes nothing)")
    hoisted = by_name["hoist"].splitlines()[1:]
    assert any(line.startswith("-") for line in hoisted)
    assert any(line.startswith("+") for line in hoisted)
    names = re.findall(r"^== (\w+):", text(spec, "--stage", "passes", "--passes", "fold"), re.MULTILINE)
    assert names == ["prepared", "fold", "place"]


def test_the_source_is_the_module_s(spec: Path) -> None:
    shown = text(spec, "--stage", "source")
    assert "class Small(Model):" in shown
    compile(shown, "model.py", "exec")


def test_standard_input(spec: Path) -> None:
    assert dump("-", "--stage", "program", stdin=SPEC).stdout == text(spec, "--stage", "program").replace(
        "small.arec:", "<stdin>:"
    )


def test_faults_are_reported(spec: Path) -> None:
    spec.write_text(SPEC.replace("last(over t)", "last(over u)"))
    faulty = dump(spec, "--stage", "source")
    assert (faulty.exit_code, faulty.stdout) == (1, "")
    assert "small.arec:8" in faulty.stderr
    assert text(spec, "--stage", "tree")
    assert dump(spec.parent / "absent.arec").exit_code == 1
    assert dump(spec, "--stage", "sauce").exit_code == 2
    spec.write_text(SPEC)
    assert dump(spec, "--stage", "passes", "--passes", "fould").exit_code == 2


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_of_a_shipped_spec_is_the_same_each_time(stage: str) -> None:
    path = resources.specs() / "dsin.arec"
    assert text(path, "--stage", stage) == text(path, "--stage", stage)
