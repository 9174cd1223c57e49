"""A training's curve: in a notebook one picture that is replaced, elsewhere a line an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specc.notebook import Curve, curve
from specc_runtime.train import Run


def told(logger: Curve, folder: Path, valid: bool = True, epochs: int = 2) -> None:
    logger.begin(Run("shop", folder))
    for epoch in range(1, epochs + 1):
        for step in (2 * epoch - 1, 2 * epoch):
            logger.note("train", step, {"epoch": epoch, "loss": 1 / step, "lr": 0.1, "speed": 1000.0})
        if valid:
            metrics = {"click": {"auc": 0.5 + epoch / 10}}
            logger.note("valid", 2 * epoch, {"epoch": epoch, "metrics": metrics, "best": True})
    logger.note("saved", 2 * epochs, {"epoch": epochs, "metrics": {}, "folder": "shop", "hash": ""})
    logger.close()


def test_without_a_notebook_it_prints_a_line_an_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(Curve(), tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1: loss 0.50000  click auc 0.60000  (the best so far)",
        "epoch 2: loss 0.25000  click auc 0.70000  (the best so far)",
    ]
    told(Curve(), tmp_path, valid=False)
    assert capsys.readouterr().out.splitlines() == ["epoch 1: loss 0.50000", "epoch 2: loss 0.25000"]


def test_in_a_notebook_it_draws_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    drawn: list[str] = []

    class Handle:
        def update(self, what: Any) -> None:
            drawn.append(what._repr_mimebundle_()["text/html"])

    def shown(what: Any, display_id: bool) -> Handle:
        assert display_id
        drawn.append(what._repr_mimebundle_()["text/html"])
        return Handle()

    monkeypatch.setattr(display, "display", shown)
    monkeypatch.setattr(curve, "_in_notebook", lambda: True)
    monkeypatch.setattr(curve, "AGAIN", 0.0)
    told(Curve(), tmp_path)
    assert "no step yet" in drawn[0]
    assert len(drawn) == 1 + 4 + 2 + 1 + 1
    assert drawn[-1].count("<figure>") == 2
    assert "epoch 2 is in shop" in drawn[-1]
