"""Trained models as files of other engines: torch.export, AOTInductor, ONNX."""

from __future__ import annotations

import textwrap

_LONG = 200  # characters of another's message that are told


class ExportError(ValueError):
    """Why a model cannot be exported, in a sentence or more for the user."""


def told(error: BaseException) -> str:
    """What an exporter or an engine says of its failure's first cause, short enough to be read."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return textwrap.shorten(line, _LONG, placeholder=" …")
