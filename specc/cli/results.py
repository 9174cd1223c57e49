"""Metrics as a table: one line for the model and each baseline."""

from __future__ import annotations

from collections.abc import Mapping

METRICS = ("logloss", "auc", "gauc", "rmse", "accuracy")
WHO = {"model": "the model", "popularity": "popularity of the item", "mean": "always the mean"}


def as_text(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """A table for each prediction; a metric that somebody does not have is left empty."""
    blocks = []
    for name, found in results.items():
        metrics = [metric for metric in METRICS if any(metric in of for of in found.values())]
        rows = [[name, *metrics]]
        for who, of in found.items():
            rows.append([f"  {WHO.get(who, who)}", *(f"{of[m]:.5f}" if m in of else "" for m in metrics)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = []
        for first, *others in rows:
            cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
