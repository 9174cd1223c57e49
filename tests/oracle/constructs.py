"""The small models of `constructs.txt`, by name."""

from __future__ import annotations

from pathlib import Path

_PARTS = (Path(__file__).parent / "constructs.txt").read_text(encoding="utf-8").split("\n--- ")[1:]
_NAMES = [part.partition("\n")[0] for part in _PARTS[1:]]
assert len(set(_NAMES)) == len(_NAMES), "two constructs have one name"
FEATURES, *_MODELS = (part.partition("\n")[2].strip() for part in _PARTS)

CONSTRUCTS: dict[str, str] = {
    name: f"model one\n{FEATURES}\n\n{model}\n" for name, model in zip(_NAMES, _MODELS, strict=True)
}
"""The whole text of each model."""
