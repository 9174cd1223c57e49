"""How a training goes, drawn while it goes on: the loss, and the metrics on validation data."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from specc import pages
from specc.pages import Series
from specc_runtime.train.report import RUNNING, Run, read_lines

AGAIN = 0.5  # seconds between two pictures


class Curve:
    """A logger for `fit` that draws loss and metrics in a notebook's cell, in place.

    Elsewhere it prints a line an epoch. A training that goes on from a checkpoint is drawn from its first
    step.
    """

    def __init__(self) -> None:
        self.name, self.metric, self.ended = "", "", ""
        self.told: list[dict[str, Any]] = []
        self.handle: Any = None
        self.live = False
        self.drawn_at = 0.0

    def begin(self, run: Run) -> None:
        """Draw what an earlier run told, if there was one."""
        self.name, self.metric, self.ended = run.name, run.settings.get("metric", ""), ""
        self.told = read_lines(run.directory / RUNNING) if run.step else []
        self.live = _in_notebook()
        if self.live:
            from IPython.display import display

            self.handle = display(self, display_id=True)

    def note(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Draw anew, where something was drawn long enough ago."""
        if kind in ("train", "valid"):
            self.told.append({"kind": kind, "step": step, **values})
        elif kind == "saved":
            self.ended = f"epoch {values['epoch']} is in {values['folder']}" if values["epoch"] else ""
        if self.live:
            if time.monotonic() - self.drawn_at > AGAIN:
                self._draw()
        elif kind == "valid" or (kind == "saved" and not self._of("valid")):
            print(self._lines()[-1] if kind == "valid" else "\n".join(self._lines()))

    def close(self) -> None:
        """Draw the whole."""
        if self.live:
            self._draw()

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self) or "nothing is trained yet", "text/html": self._html()}

    def _draw(self) -> None:
        self.handle.update(self)
        self.drawn_at = time.monotonic()

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [told for told in self.told if told["kind"] == kind]

    def _lines(self) -> list[str]:
        """A line for each epoch: its last loss, and the metrics at its end."""
        losses = {told["epoch"]: told["loss"] for told in self._of("train")}
        valid = {told["epoch"]: told for told in self._of("valid")}
        lines = []
        for epoch, loss in losses.items():
            metrics = "".join(
                f"  {name} " + " ".join(f"{metric} {value:.5f}" for metric, value in of.items())
                for name, of in valid.get(epoch, {}).get("metrics", {}).items()
            )
            best = "  (the best so far)" if valid.get(epoch, {}).get("best") else ""
            lines.append(f"epoch {epoch}: loss {loss:.5f}{metrics}{best}")
        return lines

    def _html(self) -> str:
        train = self._of("train")
        if not train:
            return pages.fragment(pages.paragraph(f"{self.name}: reading, and no step yet", soft=True))
        now = train[-1]
        said = self.ended or f"epoch {now['epoch']}, step {now['step']}: loss {now['loss']:.4f}"
        about = pages.paragraph(f"{self.name}: {said}, {now['speed']:,.0f} examples a second", soft=True)
        loss = Series("", [(told["step"], told["loss"]) for told in train])
        drawn = [pages.plot("Loss", [loss], x="step", about="on the training data"), *self._metrics()]
        return pages.fragment(about, pages.figures(*drawn))

    def _metrics(self) -> Sequence[str]:
        valid = self._of("valid")
        known = dict.fromkeys(m for told in valid for of in told["metrics"].values() for m in of)
        names = sorted(known, key=lambda name: name != self.metric)  # what the epoch is chosen by comes first
        found = []
        for metric in names:
            series = [
                Series(name, [(told["step"], told["metrics"][name][metric]) for told in valid
                              if metric in told["metrics"].get(name, {})])
                for name in dict.fromkeys(n for told in valid for n in told["metrics"])
            ]  # fmt: skip
            kept = [one for one in series if one.points]
            found.append(pages.plot(metric, kept, x="step", about="on the validation data"))
        return found


def _in_notebook() -> bool:
    """Whether what is displayed can be replaced: in a kernel of Jupyter."""
    known = sys.modules.get("IPython")
    shell = None if known is None else known.get_ipython()
    return getattr(shell, "kernel", None) is not None
