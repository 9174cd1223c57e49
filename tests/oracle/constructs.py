"""The small models of `constructs.txt`, by name."""

from __future__ import annotations

from pathlib import Path

_PARTS = (Path(__file__).parent / "constructs.txt").read_text(encoding="utf-8").split("\n--- ")[1:]
FEATURES, *_MODELS = (part.partition("\n")[2].strip() for part in _PARTS)

CONSTRUCTS: dict[str, str] = {
    part.partition("\n")[0]: f"model one\n{FEATURES}\n\n{model}\n"
    for part, model in zip(_PARTS[1:], _MODELS, strict=True)
}
"""The whole text of each model."""
