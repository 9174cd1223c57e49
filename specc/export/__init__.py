"""Trained models as files of other engines: torch.export, AOTInductor, ONNX."""

from __future__ import annotations


class ExportError(ValueError):
    """Why a model cannot be exported, in a sentence or more for the user."""
