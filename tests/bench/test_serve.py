"""What serving takes: what was measured is not measured again, and the page says what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import serve
from bench.serving_page import serving

MACHINE = {"date": "2026-01-02", "processor": "Some CPU", "revision": "abc1234567", "code": "0"}
START = {"load_s": 0.4, "load_cpu_s": 0.3, "first_ms": 3.0, "hundredth_ms": 2.0}


def result(*_: Any) -> dict[str, Any]:
    ms = {"native": [2.0, 2.0, 4.0], "state kept": [1.0] * 3, "encode": [0.1] * 3, "onnx": [4.0, 4.0, 4.0],
          "aoti": [1.0, 1.0, 2.0]}  # fmt: skip
    starts = [START, {**START, "load_s": 0.5}]
    return {
        "ms": ms,
        "absent": {"fuxictr": "it has no such model"},
        "apart": {"onnx": 1e-7},
        "starts": starts,
    }


def load(*_: Any) -> dict[str, Any]:
    row = {"by": "specc serve", "connections": 16, "a second": 300.0, "p50 ms": 5.0, "p99 ms": 9.0}
    return {"seconds": 5.0, "rows": [row]}


def test_what_was_measured_is_kept_and_the_page_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert serving(tmp_path) == ""
    asked: list[str] = []

    def measured(name: str, *more: Any) -> dict[str, Any]:
        asked.append(name)
        return load() if name == serve.LOAD else result()

    monkeypatch.setattr(serve, "measured", measured)
    monkeypatch.setattr(serve, "code", lambda: "0")
    monkeypatch.setattr(serve, "facts", lambda: MACHINE)
    options = ["--only", "dsin", "--only", "load", "--out", str(tmp_path)]
    for more in ([], ["--quick"], ["--rounds", "50"]):
        done = CliRunner().invoke(serve.main, [*options, *more])
        assert done.exit_code == 0, done.output
    assert asked == ["dsin", "load", "dsin", "load"]  # fewer rounds are not measured, more are
    kept = json.loads((tmp_path / "serve" / "dsin.json").read_text())
    assert (kept["rounds"], kept["machine"]) == (50, MACHINE)
    page = serving(tmp_path)
    assert "| dsin | 2.00 | 1.00 | 2.0 | 0.50 | – | 0.10 | 10 % |" in page
    assert "| dsin | 0.40 | 0.30 | 3.0 | 2.0 |" in page
    assert "| specc serve | 16 | 300.0 | 5.0 | 9.0 |" in page
    assert "Not there: FuxiCTR of dsin (it has no such model)." in page
