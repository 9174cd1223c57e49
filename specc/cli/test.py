"""`specc test`: a spec's own test suite, with no Python written.

Promises: what breaks comes with the variant, the smallest batch and the command that finds it again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import FAULTS, set_option, show
from specc.cli.numbers import Whole

if TYPE_CHECKING:
    from specc.testing.suite import Outcome, Progress
    from specc.variants import Variant


def _list_laws(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from specc.testing.laws import LAWS

        for law in LAWS.values():
            click.echo(f"{law.name:<12}{law.says}")
        click.echo(f"{'dead':<12}weights that nothing depends on, which are named and not counted as broken")
        ctx.exit()


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@set_option
@click.option("--examples", type=Whole(1), default=10, show_default=True, help="Batches for each variant.")
@click.option("--variants", type=Whole(1), default=6, show_default=True, help="Variants, the default first.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Of variants, weights and batches.")
@click.option("--only", multiple=True, metavar="LAW", help="Ask this law only. Repeatable; see --laws.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop asking after so long, for each file.")
@click.option(
    "--laws",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_laws,
    help="List the laws, and end.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(
    files: tuple[str, ...],
    params: dict[str, Any],
    examples: int,
    variants: int,
    seed: int,
    only: tuple[str, ...],
    seconds: float | None,
    as_json: bool,
) -> None:
    """Property-test specs: over their variants and random batches, every law that a compiled model keeps.

    Among them: it gives what the spec means, in value and gradient; neither order, company nor padding of
    examples matters; passes, places and saving change nothing; it can learn a dozen examples by heart.
    """
    from specc.testing.laws import LAWS

    known = {**LAWS, "dead": None}
    for name in only:
        if name not in known:
            from specc.report.suggest import nearest

            close = nearest(name, known)
            raise click.BadParameter(
                f"there is no law {name!r}" + (f"; did you mean {close!r}?" if close else ""),
                param_hint="--only",
            )
    import torch

    from specc.report.render import as_json as described
    from specc.testing.suite import Suite
    from specc.variants import load_space

    torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for each other
    faulty, said = False, list[dict[str, Any]]()
    for file in files:
        space, report = load_space(file, params)
        if space is None:
            faulty = True
            if as_json:
                said.append({"file": file, "faults": [described(d) for d in report]})
            else:
                show(report)
            continue
        with _Shown(file) as progress:
            suite = Suite(file, params, examples, variants, seed, only, seconds, progress)
            outcome = suite.run(space)
        faulty = faulty or bool(outcome.failures) or not outcome.variants
        said.append({"file": file, **asdict(outcome)})
        if not as_json:
            _print(file, outcome)
    if not as_json and len(said) > 1:
        variants_tried, batches_tried = (sum(s[key] for s in said) for key in ("variants", "batches"))
        click.echo(f"{len(said)} specs, {variants_tried} variants, {batches_tried} batches")
    if as_json:
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    sys.exit(FAULTS if faulty else 0)


def _print(file: str, outcome: Outcome) -> None:
    for failure in outcome.failures:
        click.echo(f"{click.style('broken', fg='red', bold=True)} {failure}\n")
    for note, variants in outcome.dead.items():
        where = "" if len(variants) == outcome.variants else f" with {variants[0]}"
        click.echo(f"{click.style('dead', fg='yellow')} {note}{where}")
    for law, why in outcome.skipped.items():
        click.echo(f"not asked: {law}, for {why}")
    if not outcome.variants:
        click.echo("nothing was tested: there was no time for a variant; give more --seconds")
    failed = outcome.failures or not outcome.variants
    mark = click.style("FAILED", fg="red") if failed else click.style("ok", fg="green")
    late = ", out of time" if outcome.out_of_time else ""
    broken = f", {len(outcome.failures)} broken" if outcome.failures else ""
    click.echo(
        f"{mark} {file}: {outcome.variants} of {outcome.of} variants, {outcome.batches} batches"
        f"{broken}, {outcome.seconds:.1f} s{late}"
    )


class _Shown:
    """Progress on stderr, where that is a terminal."""

    def __init__(self, file: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn(file),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("variants, {task.fields[batches]} batches"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[variant]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, batches=0, variant="")
        self._batches = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def variant(self, number: int, of: int, variant: Variant) -> None:
        changed = variant.settings(changes_only=True)
        shown = " ".join(f"{n}={v}" for n, v in changed.items()) or "the default"
        self._bar.update(self._task, completed=number - 1, total=of, variant=shown)

    def batch(self) -> None:
        self._batches += 1
        self._bar.update(self._task, batches=self._batches)
