"""`specc diff`: what differs between two models, and which weights the second may start from."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import FAULTS, fail, set_option, show

if TYPE_CHECKING:
    from specc.cli.changes import Change, Changes, Side


@click.command()
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@set_option
@click.option("--json", "as_json", is_flag=True, help="The differences as JSON.")
def command(before: str, after: str, params: dict[str, Any], as_json: bool) -> None:
    """Tell what differs between two models: params, inputs, types of values, predictions, recipe, initial
    weights, parameters, memory, where a value begins to be computed otherwise, and which weights AFTER may
    start from when BEFORE is trained.

    BEFORE and AFTER are specs, names of shipped ones, or model folders. The recipe of a trained model is the
    one that it was trained by. --set is for those that are specs.

    Exit codes: 0 compared, 1 faults in a spec or a folder that is no model, 2 wrong usage.
    """
    from specc.cli.changes import changes

    sides = [_side(Path(given), params) for given in (before, after)]
    if None in sides:
        sys.exit(FAULTS)
    first, second = (side for side in sides if side is not None)
    found = changes(first, second)
    if as_json:
        click.echo(json.dumps(found.as_data(), indent=1, ensure_ascii=False))
    else:
        click.echo(_text(found, first, second))


def _side(path: Path, params: dict[str, Any]) -> Side | None:
    """Return one of the two; None after showing the faults of its spec."""
    from specc.cli.changes import Side
    from specc.cli.models import manifest_from
    from specc.driver import compiled
    from specc.emit.manifest import manifest_of
    from specc.report import Report
    from specc_runtime.record import SPEC, ArtefactError, consistent
    from specc_runtime.trained import read_training

    manifest = training = None
    spec, chosen = path, params
    if path.is_dir():
        manifest = manifest_from(path, {})
        spec, chosen = path / SPEC, manifest["params"]
        if not spec.is_file():
            fail(f"{path} has no {SPEC}: a folder that specc wrote has one")
        try:
            training = consistent(path, read_training)
        except ArtefactError as fault:
            fail(str(fault))
    report = Report()
    found = compiled(spec, "default", None, chosen, report)
    show(report)
    if found is None:
        return None
    return Side(str(path), found, manifest or manifest_of(found.graph), training)


def _text(found: Changes, first: Side, second: Side) -> str:
    before, after = first.name, second.name
    lines = [f"{before} -> {after}"]
    trained = " and ".join(side.name for side in (first, second) if side.training)
    for name, changed in found.sections.items():
        head = name.capitalize() + (f", {trained} as trained" if trained and name == "recipe" else "")
        lines += ["", head, *_rows(changed)] if changed else []
    if len(lines) == 1:
        lines += ["", "nothing differs"]
    weights = found.weights
    kept = sum(map(len, weights.kept.values()))
    of = kept + len(weights.anew)
    lines += ["", f"Weights: {kept} of {of} carry over ({_how(before, after)})"]
    for how, paths in weights.kept.items():
        if how != "whole":
            lines.append(f"  {how}: {', '.join(paths)}")
    lines += [f"  {path} {why}" for path, why in weights.anew.items()]
    if weights.gone:
        lines.append(f"  {', '.join(weights.gone)} {'is' if len(weights.gone) == 1 else 'are'} dropped")
    for name, old in weights.renamed.items():
        lines.append(f"  {name} has the weights that {old} had: they carry over if it stays {old}")
    return "\n".join(lines)


def _how(before: str, after: str) -> str:
    """Return how the second is trained from the first: what is trained is a folder."""
    from specc_runtime.record import held

    record = held(before).record if Path(before).is_dir() else None
    model = before if record is not None and record.trained else "MODEL"
    command = f"specc train {shlex.quote(after)} DATA --start-from {shlex.quote(model)}"
    return command if model == before else f"{command}, where MODEL is {before}, trained"


def _rows(changed: list[Change]) -> list[str]:
    wide = max(len(x.name) for x in changed)
    rows = []
    for x in changed:
        if x.before is None:
            rows.append(f"  + {x.name:{wide}}  {x.after}")
        elif x.after is None:
            rows.append(f"  - {x.name:{wide}}  {x.before}")
        else:
            rows.append(f"    {x.name:{wide}}  {x.before} -> {x.after}")
    return rows
