"""Where the data files are: the grammar and the shipped specs.

Promises: the same answer from a checkout and from an installed wheel (which carries them in `specc/_data`).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


def grammar() -> Path:
    """The folder with `arec.lark`, the parse table `arec.json` made from it, and a grammar for editors."""
    return _folder("grammar")


def specs() -> Path:
    """The folder with the shipped models; the standard library is in its `std`."""
    return _folder("specs")
