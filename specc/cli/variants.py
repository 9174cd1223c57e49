"""`specc variants`: the models a spec stands for, counted, listed, sampled, covered in pairs, written."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import FAULTS, fail, set_option, show
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc.variants import Variant, VariantSpace

SHOWN = 1000  # variants that `--list` prints unless told otherwise


@click.command(epilog="An interval such as 0.0 .. 0.5 has no end of values: grids take --points of them.")
@click.argument("file", type=click.Path())
@set_option
@click.option("--list", "listing", is_flag=True, help="Every variant, the last param changing fastest.")
@click.option("--sample", type=Whole(1), metavar="N", help="N different variants at random.")
@click.option("--pairs", is_flag=True, help="Few variants that cover every pair of two params' choices.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="For --sample.")
@click.option("--points", type=Whole(1), default=3, show_default=True, help="Per interval.")
@click.option("--limit", type=Whole(1), default=SHOWN, show_default=True, help="For --list.")
@click.option("--diff", is_flag=True, help="Show only what differs from the default.")
@click.option(
    "--write",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write each variant as a spec: DIR/NAME_1.arec, …",
)
@click.option(
    "--form",
    type=click.Choice(["extends", "text"]),
    default="extends",
    show_default=True,
    help="What --write writes: a spec that extends this one, or its text with other defaults.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    file: str,
    params: dict[str, Any],
    listing: bool,
    sample: int | None,
    pairs: bool,
    seed: int,
    points: int,
    limit: int,
    diff: bool,
    directory: Path | None,
    form: str,
    as_json: bool,
) -> None:
    """Count the variants of a spec, or choose some: each as the --set options that give it.

    A variant is a choice for every param with a domain that keeps every `require`.
    """
    if (listing, sample is not None, pairs).count(True) > 1:
        raise click.UsageError("choose one of --list, --sample and --pairs")
    from specc.variants import covering, every, load_space
    from specc.variants import sample as sampled

    space, report = load_space(file, params)
    if space is None:
        show(report, "json" if as_json else "terminal")
        sys.exit(FAULTS)
    more = False
    chosen: list[Variant] | None = None
    if sample is not None:
        chosen = sampled(space, sample, seed)
    elif pairs:
        chosen = covering(space, points)
    elif listing or directory is not None:
        chosen = list(itertools.islice(every(space, points), limit + 1))
        more, chosen = len(chosen) > limit, chosen[:limit]
    written = _write(space, chosen, directory, form) if directory is not None and chosen is not None else []
    if as_json:
        click.echo(json.dumps(_json(space, chosen, points, diff, written), indent=2, ensure_ascii=False))
    elif chosen is None:
        click.echo(_summary(space, points))
    else:
        _print(chosen, diff, written)
    if more:
        click.echo(f"only the first {limit:,}: ask for more with --limit, or for a --sample", err=True)


def _write(space: VariantSpace, chosen: list[Variant], directory: Path, form: str) -> list[Path]:
    from specc.variants import write
    from specc.variants.write import WriteError

    try:
        return write(space, chosen, directory, "text" if form == "text" else "extends")
    except (WriteError, OSError) as why:
        fail(f"cannot write variants: {why}")


def _print(chosen: list[Variant], diff: bool, written: list[Path]) -> None:
    for index, variant in enumerate(chosen):
        settings = variant.settings(changes_only=diff)
        options = " ".join(f"--set {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        options = options or "# the default"
        click.echo(f"{written[index]}  {options}" if written else options)


def _summary(space: VariantSpace, points: int) -> str:
    from specc.elaborate.statics import describe_domain
    from specc.elaborate.world import Site
    from specc.types.static import describe
    from specc.variants import count

    found = count(space, points)
    number = f"{found.number:,} variant{'s' if found.number != 1 else ''}"
    lines = [number if found.exact else f"at most {number}"]
    if found.intervals:
        lines[0] += f" ({', '.join(found.intervals)} at {points} point{'s' if points != 1 else ''})"
    names = [n for n in space.program.main.named if n in space.order]
    rows = []
    scope = space.scope({n: space.defaults[n] for n in space.order})
    for name in names:
        domain = space.param(name).domain
        text = "set" if name in space.fixed else ""
        if domain is not None and name not in space.fixed:
            text = "in " + describe_domain(domain, Site(scope, scope.frame, ""))
        rows.append((name, f"= {describe(space.defaults[name])}", text))
    if rows:
        lines.append("")
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines += [f"  {a:<{widths[0]}} {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    if space.conditions:
        lines.append("")
        lines += [f"  require {' '.join(c.condition.span.text.split())}" for c, _ in space.conditions]
    return "\n".join(lines)


def _json(
    space: VariantSpace, chosen: list[Variant] | None, points: int, diff: bool, written: list[Path]
) -> dict[str, Any]:
    from specc.variants import Interval, count
    from specc.variants.space import plain

    found = count(space, points)
    params = []
    for name in space.order:
        choices = space.choices(name, {n: space.defaults[n] for n in space.order})
        entry: dict[str, Any] = {"name": name, "default": plain(space.defaults[name])}
        match choices:
            case Interval(low=low, high=high):
                entry["between"] = [low, high]
            case range():
                entry["integers"] = [choices.start, choices.stop - 1]
            case _:
                entry["choices"] = [plain(v) for v in choices]
        params.append(entry)
    result: dict[str, Any] = {
        "model": space.program.main.name,
        "count": found.number,
        "exact": found.exact,
        "intervals": list(found.intervals),
        "params": params,
    }
    if chosen is not None:
        result["variants"] = [
            {
                "params": v.params,
                "changed": sorted(v.changed),
                "set": [f"{n}={t}" for n, t in v.settings(changes_only=diff).items()],
                **({"file": str(written[i])} if written else {}),
            }
            for i, v in enumerate(chosen)
        ]
    return result
