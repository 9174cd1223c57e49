"""What was measured is not measured again; who is not there is named; the page says what the results say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import models, passes, store
from bench.cells import USUAL, every_cell
from bench.cells import main as run_cells
from bench.contenders.arec import params_of, spec_of, text_of
from bench.duel import Result, duel
from bench.models import TASKS
from bench.report import page
from bench.tables import CONTENDERS, bytes_of, with_room
from bench.tasks import Padded, Task, examples
from specc.passes import DEFAULT

DSTN, DIEN = Task("dstn", bound=5), Task("dien")
MACHINE = {
    "date": "2026-01-02", "processor": "Some CPU", "system": "Linux x86_64", "python": "3.11.1",
    "torch": "2.13.0", "revision": "abc1234567", "code": "0",
}  # fmt: skip


def made(times: Mapping[str, float], **more: Any) -> Result:
    """A result in which each contender takes so many seconds, to train and to score, in three turns."""
    seconds = {name: {work: [s, s, 2 * s] for work in ("train", "score")} for name, s in times.items()}
    return Result(seconds=seconds, memory=dict.fromkeys(times, 10_000_000), **more)


def kept(folder: Path, kind: str, task: Task, result: Result, **more: Any) -> None:
    """A result as a bench leaves it, on a machine that is the same in every run of these tests."""
    path = folder / kind / f"{task.slug}.json"
    store.write(path, result, task, 3, **more)
    path.write_text(json.dumps({**store.read(path), "machine": MACHINE}))


def row_of(text: str, name: str) -> list[str]:
    """The cells of the first table row that begins with a name."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_batch_has_the_same_lengths_with_a_mean_of_a_quarter() -> None:
    for task in TASKS:
        if task.model in ("afm", "dsin") or task.full:
            continue
        drawn = task.lengths(512, task.bound)
        assert sorted(drawn.tolist()) == sorted(task.lengths(512, task.bound).tolist())
        assert drawn.double().mean().item() == pytest.approx(task.bound / 4, rel=0.01)
        assert task.shortest <= drawn.min().item()
        assert drawn.max().item() <= task.bound
    assert examples(Task("dsin", sessions=5, bound=20)).means == "1.25 sessions of 5, 5.0 steps of 20"
    assert examples(Task("din", full=True)).means == "100.0 of 100"


def test_a_contender_that_cannot_run_is_named() -> None:
    found = duel(Task("dstn", batch=4, bound=5), ("arec", "nobody", "fuxictr"), {}, 1, memory=False)
    assert len(found.seconds["arec"]["train"]) == 1
    assert found.absent == {
        "nobody": "not installed (No module named 'bench.contenders.nobody')",
        "fuxictr": "it has no such model",
    }


def test_what_was_measured_of_the_same_code_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def measured(task: Task, contenders: tuple[str, ...], *_: object) -> Result:
        asked.append(contenders)
        return made({"arec": 0.1}, absent=dict.fromkeys(contenders[1:], "not installed"))

    def run(*arguments: str) -> int:
        before = len(asked)
        command = ["--only", "dstn", "--out", str(tmp_path), *arguments]
        done = CliRunner().invoke(models.main, command, catch_exceptions=False)
        assert done.exit_code == 0
        assert "DSTN, T 5" in done.output
        return len(asked) - before

    monkeypatch.setattr(models, "duel", measured)
    assert run("--rounds", "3", "--against", "handwritten") == 2  # with the paper's head and a small one
    assert run("--rounds", "3", "--against", "handwritten") == 0
    assert run("--rounds", "2", "--against", "handwritten", "--json") == 0
    assert run("--rounds", "3", "--against", "handwritten", "--again") == 2
    assert run("--rounds", "5", "--against", "handwritten") == 2
    assert run("--rounds", "3") == 2  # against more
    assert {"handwritten", "handwritten:compile", "fuxictr"} < set(asked[-1])
    monkeypatch.setattr(store, "code", lambda: "another")
    assert run("--rounds", "3") == 2
    found = store.read(tmp_path / "models" / "dstn-t-5.json")
    assert {"date", "processor", "torch", "threads", "revision", "code"} <= set(found["machine"])
    assert (found["rounds"], found["lengths"]) == (3, "1.2 of 5")


def test_the_page_of_made_up_results(tmp_path: Path) -> None:
    times = {"arec": 0.1, "arec:torch": 0.16, "handwritten": 0.6, "fuxictr": 0.4, "rechub": 0.2}
    times["handwritten:compile"] = 0.5
    more = {"versions": {"fuxictr": "9.9"}, "differs": {"rechub": "no attention"}, "lesser": ["rechub"]}
    kept(tmp_path, "models", DIEN, made(times, absent={"deepctr": "not installed (no module)"}, **more))
    kept(tmp_path, "models", DSTN, made({"arec": 0.1, "handwritten": 0.5}))
    text = page(tmp_path)
    assert "Some CPU" in text
    assert "2026-01-02" in text
    assert "abc1234567" in text
    # The quickest that does the same work is the one to beat, less work or not shown.
    assert row_of(text, "DIEN, T 100")[1:5] == ["**4.0** × FuxiCTR 9.9", "6", "**4.0** × FuxiCTR 9.9", "3.5"]
    assert row_of(text, "FuxiCTR 9.9")[1:3] == ["**4.0**", "**4.0**"]
    assert row_of(text, "torch-rechub (1), less work")[1:3] == ["2.0", "2.0"]
    assert row_of(text, "by hand, torch.compile")[1:3] == ["5.0", "5.0"]
    assert "(1) No attention." in text
    # It is no contender of itself; what it reaches without kernels in C is told beside.
    assert row_of(text, "compiled, in torch alone")[1:3] == ["1.60", "1.60"]
    assert "DIEN, T 100: 2.5 and 2.5." in text
    assert "DIEN, T 100, training step: 4.0 of 6" in text
    assert "DSTN, T 5, training step" not in text  # 5 of 3
    assert "Not there: DeepCTR-Torch (not installed (no module)); RecBole (not asked)." in text
    assert "performance.svg" in text
    # What nothing was measured of is not there.
    assert "## Tables" not in text
    assert "## What each pass" not in text


def test_the_page_of_nothing(tmp_path: Path) -> None:
    assert page(tmp_path).startswith("# Performance\n")


def test_the_table_of_passes(tmp_path: Path) -> None:
    known = ["fold", "recurrence", "tiles"]
    with_all = {"arec": 0.1, "arec:none": 0.3, "arec:-recurrence": 0.25}
    kept(tmp_path, "passes", DIEN, made(with_all), passes=known)
    kept(tmp_path, "passes", DSTN, made({"arec": 0.1, "arec:none": 0.1}), passes=known)
    text = page(tmp_path)
    assert row_of(text, "without") == ["without", "DIEN, T 100", "DSTN, T 5"]
    assert row_of(text, "`recurrence`")[1:] == ["2.5 / 2.5 / 1.00", ""]
    assert row_of(text, "all of them")[1:] == ["3.0 / 3.0 / 1.00", "1.00 / 1.00 / 1.00"]
    assert "Of no use alone to any of these: `fold`, `tiles`." in text


def test_a_pass_is_timed_where_it_changes_what_is_emitted() -> None:
    found = passes.variants(Task("afm"))
    assert found[0] == "arec:none"
    assert "arec:-tiles" in found
    assert "arec:-recurrence" not in found
    assert {name.removeprefix("arec:-") for name in found[1:]} <= set(DEFAULT)


def test_tables_of_a_size(tmp_path: Path) -> None:
    task = Task("tables", rows=10_000)
    assert spec_of(task).is_file()
    assert params_of(task) == {"rows": 10_000}
    everyone, nobody = with_room(task, CONTENDERS, 1 << 40)
    assert (everyone, nobody) == (list(CONTENDERS), {})
    some, others = with_room(task, CONTENDERS, int(2.5 * bytes_of(task)))
    assert some == list(CONTENDERS[:2])
    assert "GB" in others[CONTENDERS[2]]
    times = {"arec": 0.01, "arec:exact": 0.02, "fuxictr": 0.03}
    result = made(times, absent={"arec:dense": "it needs 4 GB beside the others"})
    kept(tmp_path, "tables", task, result, rows=10_000)
    text = page(tmp_path)
    assert row_of(text, "10,000")[1:] == ["20.0", "10.0", "–", "30.0"]
    assert "compiled, dense at 10,000 rows: it needs 4 GB beside the others" in text


def test_other_results_are_told_where_they_are(tmp_path: Path) -> None:
    compiled = {"train_ratio": 1.25, "score_ratio": 1.5, "recompiles": 0, "first_s": 12.4}
    (tmp_path / "torch_compile.json").write_text(json.dumps({"models": {"din": compiled}}))
    text = page(tmp_path)
    assert row_of(text, "din") == ["din", "1.25", "1.50", "0", "12"]


def test_cells_have_names_of_their_own_and_run_from_file() -> None:
    cells = every_cell()
    assert len({task.slug for task in cells}) == len({task.name for task in cells}) == len(cells)
    assert [task.model for task in cells[:3]] == ["afm", "din", "dien"]
    for part in ("batch 1", "batch 2048", "width 16", "10% of the bound", "T 200", "39 x 16", "mean pooling",
                 "one request of 500"):  # fmt: skip
        assert any(part in task.name for task in cells), part
    printed = CliRunner().invoke(run_cells, ["--list", "--only", "afm", "--warm"]).output
    assert "AFM, 26 x 16, batch 32, warm allocator" in printed
    refused = CliRunner().invoke(run_cells, ["--cell", "batch 77"])
    assert refused.exit_code == 2
    assert "no cell has batch 77 in its name" in refused.output


def test_a_spec_with_more_fields() -> None:
    text = text_of(Task("afm", fields=39))
    assert isinstance(text, str)
    assert text.count(": vocab(1_000, k)") == 39


def test_one_request_has_one_history() -> None:
    found = examples(Task("din", batch=7, candidates=7))
    assert isinstance(found, Padded)
    assert (found.items == found.items[0]).all()
    assert found.lengths.tolist() == [25] * 7
    assert len(found.item.unique()) > 1


def test_the_worst_and_the_best_cell_of_each_model(tmp_path: Path) -> None:
    usual, small = USUAL["dien"], Task("dien", batch=32)
    request = Task("dien", batch=100, candidates=100)
    kept(tmp_path, "cells", usual, made({"arec": 0.1, "handwritten": 0.5}))
    times = {"arec": 0.1, "handwritten": 0.3, "handwritten:compile": 0.08}
    # In the 0.08 s of the others there is time for two such products, and for one with all the rest.
    counted = {"operations": 4e9, "exponentials": 1e6, "bytes": 1e9}
    counted |= {"seconds of operations": 0.04, "seconds of exponentials": 0.01, "seconds of bytes": 0.03}
    kept(tmp_path, "cells", small, made(times), least={"train": counted})
    scored = made({"arec": 0.1, "handwritten": 0.9})
    for works in scored.seconds.values():
        del works["train"]
    kept(tmp_path, "cells", request, scored)
    text = page(tmp_path)
    assert "Of 5 figures 3 are short of their bars, 2 below 1." in " ".join(text.split())
    assert "at the 100 GFLOP a second" in " ".join(text.split())
    assert "made its exponentials, 10.00 ns each" in " ".join(text.split())
    rows = [line for line in text.splitlines() if line.startswith("| DIEN |")]
    assert rows == [
        "| DIEN | training step | **0.80** | DIEN, T 100, batch 32 | 5.0 | DIEN, T 100 |",
        "| DIEN | scoring | **0.80** | DIEN, T 100, batch 32 | 9.0 | DIEN, T 100, one request of 100 |",
    ]
    rows = [line for line in text.splitlines() if line.startswith("| DIEN, T 100, batch 32 |")]
    assert rows == [
        "| DIEN, T 100, batch 32 | training step | 0.80 × by hand, torch.compile | 1 | 2.0 | 1.00 |",
        "| DIEN, T 100, batch 32 | scoring | 0.80 × by hand, torch.compile | 1 |  |  |",
        "| DIEN, T 100, batch 32 | 100.00 | 0.80 × by hand, torch.compile "
        "| 100.00 | 0.80 × by hand, torch.compile |",
    ]
    assert row_of(text, "DIEN, T 100, one request of 100")[1:] == ["", "", "100.00", "9.0 × by hand, padded"]
