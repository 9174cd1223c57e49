"""By which prediction `--top` chooses candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


def goes_by(manifest: Mapping[str, Any], by: str | None, per_candidate: bool) -> str:
    """The prediction that `--top` goes by. Raises click.BadParameter."""
    kinds = {p["name"]: p["kind"] for p in manifest["predictions"]}
    kinds |= {o["name"]: "output" for o in manifest.get("outputs", ()) if o["width"] == 1}
    ranks = [n for n, kind in kinds.items() if (kind != "class" if per_candidate else kind == "class")]
    if by is not None and by not in kinds:
        raise click.BadParameter(f"the model predicts {', '.join(kinds)}, not {by}", param_hint="--by")
    if (by is not None and by not in ranks) or not ranks:
        what = (
            "candidates are ranked by a binary or real prediction, or an output of one channel"
            if per_candidate
            else ("the model has no candidates: the best are the classes of a class prediction")
        )
        raise click.BadParameter(
            f"{what}; it has {', '.join(ranks) or 'none'}", param_hint="--by" if by else "--top"
        )
    return by or ranks[0]
