"""`specc sweep`: many trainings over a spec's own domains."""

from __future__ import annotations

import functools
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.boundary import INTERRUPTED
from specc.cli.common import FAULTS, again, fail, set_option, show
from specc.cli.data_options import data_options, tell
from specc.cli.numbers import Whole
from specc.report.table import aligned

if TYPE_CHECKING:
    from specc_runtime.data import Dialect

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("spec", type=PATH)
@click.argument("data", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="The folder of the sweep; without it build/NAME_sweep.")  # fmt: skip
@set_option
@click.option("--over", multiple=True, metavar="NAME=DOMAIN",
              help="Try a setting of the recipe, too: --over lr=1e-4..1e-1 or --over 'batch={64, 128}', "
              "in quotes. A range from a power of ten on is drawn by its logarithm. Repeatable.")  # fmt: skip
@click.option("--trials", type=Whole(1), default=20, show_default=True,
              help="How many trainings, those of earlier runs among them.")  # fmt: skip
@click.option("--valid", multiple=True, type=PATH, help="Examples that trials are compared on.")
@click.option("--metric", help="What they are compared by, instead of the recipe's.")
@click.option("--epochs", type=Whole(1), help="Of each trial at most, instead of the recipe's.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help="Begin no trial later than this; --confirm comes after it.")  # fmt: skip
@click.option("--workers", type=Whole(1), default=1, show_default=True,
              help="Processes that train at once.")  # fmt: skip
@click.option("--confirm", type=Whole(1), metavar="N",
              help="The N best trials again, with three other seeds each: the best mean wins.")  # fmt: skip
@click.option("--no-pruning", is_flag=True, help="Train every trial to its end.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="For what is drawn.")
@data_options
@click.option("--overwrite", is_flag=True, help="Begin anew where a sweep is, and take its place.")
@click.option("--json", "as_json", is_flag=True, help="The trials as JSON.")
def command(
    spec: Path,
    data: tuple[Path, ...],
    output: Path | None,
    params: dict[str, Any],
    over: tuple[str, ...],
    trials: int,
    valid: tuple[Path, ...],
    metric: str | None,
    epochs: int | None,
    minutes: float | None,
    workers: int,
    confirm: int | None,
    no_pruning: bool,
    seed: int,
    dialect: Dialect,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train variants of SPEC on DATA: choices from its params' domains that keep every `require`.

    Trials are compared by the metric on validation data, which DATA has in a folder or file called valid, or
    --valid gives; the first one is the spec as it stands. The same command goes on with a sweep that was
    stopped. In its folder are the best model (best/), the winner as a spec that extends SPEC
    (NAME_best.arec), a page with history, importance and parallel coordinates (sweep.html), and the journal.
    The best of many trials is partly the luckiest one: --confirm 3 asks three of them again.

    Exit codes: 0 done, 1 faults in the spec or in data, 2 wrong usage.
    """
    if not (find_spec("optuna") and find_spec("plotly")):
        fail("specc sweep needs Optuna and Plotly: pip install 'arec[sweep]'")
    import specc
    from specc.driver import located
    from specc.sweep import domains, found
    from specc.sweep.run import run
    from specc.sweep.study import Sweep, SweepError
    from specc.variants.write import WriteError
    from specc_runtime import ArtefactError
    from specc_runtime.data import USES, find_files, find_parts
    from specc_runtime.encode import DataError
    from specc_runtime.files import FileError, exclusive
    from specc_runtime.train import Interrupted, TrainingError

    apart = [path for path in data if "=" in path.name and not path.exists()] if over else []
    if apart:
        quoted = "a shell takes braces apart unless they are quoted, as in --over 'batch={64, 128}'"
        raise click.UsageError(f"{apart[0]}: there is no such file; {quoted}")
    spec = located(spec)
    folder = output or Path("build") / f"{spec.stem}_sweep"
    try:
        compared = "left alone, as --valid gives others" if valid else "trials are compared on it"
        parts = find_parts(data, {**USES, "valid": compared, "test": "left alone, to test the winner on"})
        for line in parts.said:
            tell(line)
        held_out = find_files(valid) if valid else parts.valid
        if not parts.train:
            fail(f"{', '.join(map(str, data))}: nothing in it is called train, to be learned from")
        if not held_out:
            fail("there are no validation data to compare trials on: --valid gives some")
        sweep = Sweep(
            spec, folder, parts.train, held_out, trials, params, over, metric, epochs, seed,
            None if minutes is None else 60 * minutes, not no_pruning, dialect, confirm or 0, workers,
        )  # fmt: skip
        plan = sweep.read()
        metric = plan.recipe.metric
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder, "specc sweep"):
            say = functools.partial(click.echo, err=True)
            study = run(sweep, plan, overwrite=overwrite, told=say, tell=tell)
            best = found.write_winner(study, sweep, plan)
            found.write_page(study, metric, f"Sweep of {spec.stem}", folder / "sweep.html")
    except specc.SpecError as error:
        show(error.report)
        sys.exit(FAULTS)
    except domains.DomainError as error:
        raise click.UsageError(str(error)) from None
    except (DataError, ArtefactError, FileError, TrainingError) as error:
        fail(str(error))
    except (SweepError, WriteError, ValueError) as error:
        fail(str(error))
    except (Interrupted, KeyboardInterrupt) as stopped:
        click.echo(f"interrupted; go on with:\n  {again(without=['--overwrite'])}", err=True)
        sys.exit(128 + stopped.number if isinstance(stopped, Interrupted) else INTERRUPTED)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), **found.as_data(study, metric)}, indent=2))
        return
    rows = found.rows(study, metric)
    click.echo("\n".join(aligned(rows, right=range(len(rows[0]) - 1))))
    shares = found.importance(study)
    if shares:
        click.echo("\nimportance: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    kept = "" if best is None else f"best/ has the best model, {best.name} its spec, "
    click.echo(f"\n{folder}: {kept}sweep.html the pictures")
