"""Loggers: TensorBoard, MLflow, Weights & Biases.

Promises: each needs its library only where it is asked for, and no network: MLflow's store is local and W&B
is offline unless the environment says otherwise, and neither reports of its use. A training that goes on does
so in the same run. A logger that fails says so once, and the training goes on without it.
Leaves to others: what is told, and when (report).
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from specc_runtime.files import replace_file
from specc_runtime.train.report import Logger, Run

__all__ = ["Unfailing", "mlflow", "tensorboard", "wandb"]

MOST = 500  # metrics that MLflow is handed at once; it takes 1000
RUNS = "runs.json"  # in a model's directory: by logger, the run that it was told to
Values = Mapping[str, Any]


def tensorboard(folder: str | Path | None = None) -> Unfailing:
    """Tell TensorBoard. folder: its log directory; without it `runs/`, and in that the name of the model's
    directory. Raises ImportError where TensorBoard is not installed."""
    return Unfailing(_TensorBoard(None if folder is None else Path(folder)))


def mlflow(uri: str | None = None) -> Unfailing:
    """Tell MLflow, in an experiment with the model's name, or that of MLFLOW_EXPERIMENT_NAME.

    uri: the store, such as "sqlite:///mlflow.db", or a server; without it MLFLOW_TRACKING_URI, or what MLflow
    takes else, a store in the current folder. Raises ImportError where MLflow is not installed.
    """
    return Unfailing(_MLflow(uri))


def wandb(project: str | None = None) -> Unfailing:
    """Tell Weights & Biases: offline, in the folder `wandb`, unless WANDB_MODE says otherwise.

    project: without it WANDB_PROJECT, or the model's name. Raises ImportError where it is not installed.
    """
    return Unfailing(_Wandb(project))


LOGGERS: Mapping[str, Callable[[str | None], Unfailing]] = {
    "tensorboard": tensorboard,
    "mlflow": mlflow,
    "wandb": wandb,
}


class Unfailing:
    """A logger whose failure is told once, as a warning, and ends no training."""

    def __init__(self, logger: Logger) -> None:
        self.logger, self.failed = logger, False

    def __str__(self) -> str:
        return str(self.logger)

    def begin(self, run: Run) -> None:
        """Tell the logger."""
        self._try(lambda: self.logger.begin(run))

    def note(self, kind: str, step: int, values: Values) -> None:
        """Tell the logger."""
        self._try(lambda: self.logger.note(kind, step, values))

    def close(self) -> None:
        """Tell the logger."""
        self._try(self.logger.close)

    def _try(self, told: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            told()
        except Exception as error:
            self.failed = True
            lines = str(error).strip().splitlines() or [""]
            what = f"{type(error).__name__}: {lines[0]}".removesuffix(": ")
            with suppress(Exception):
                self.logger.close()
            warnings.warn(
                f"{self.logger} is told nothing more of this training, which goes on: {what}", stacklevel=3
            )


class _TensorBoard:
    """Scalars train/loss, train/lr, train/speed, valid/PREDICTION/METRIC, best/… and test/…; texts."""

    def __init__(self, folder: Path | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.kind, self.folder = SummaryWriter, folder
        self.writer: Any = None

    def __str__(self) -> str:
        return f"TensorBoard (tensorboard --logdir {self.folder or 'runs'})"

    def begin(self, run: Run) -> None:
        folder = self.folder or Path("runs") / run.directory.resolve().name
        # Of what an earlier run told of later steps TensorBoard shows no more.
        self.writer = self.kind(str(folder), purge_step=run.step + 1 if run.step else None)
        if not run.step:
            self.writer.add_text("spec", f"```\n{run.spec}\n```")
            rows = "".join(f"| {name} | {value} |\n" for name, value in run.settings.items())
            self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def note(self, kind: str, step: int, values: Values) -> None:
        for name, value in _scalars(kind, values):
            self.writer.add_scalar(name, value, step)
        for name, text in _texts(kind, values).items():
            self.writer.add_text(name, text, step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class _MLflow:
    """A run of MLflow: params, metrics as `_TensorBoard` names them, the spec as an artifact.

    Metrics of steps are handed over together, once a second: a store takes longer for one than a step may.
    """

    def __init__(self, uri: str | None) -> None:
        # Read where it is imported: it would report that it is used.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.kind, self.uri = MlflowClient, uri
        self.client: Any = None
        self.run = ""
        self.saved = False
        self.told: Mapping[str, int] = {}
        self.waiting: list[Any] = []
        self.handed = 0.0

    def __str__(self) -> str:
        return f"MLflow (run {self.run})" if self.run else "MLflow"

    def begin(self, run: Run) -> None:
        self.client, self.saved = self.kind(self.uri), False
        self.uri = self.client.tracking_uri
        before = _run_of(run, f"mlflow {self.uri}")
        if before is not None:
            self.run = self.client.get_run(before).info.run_id
            self.client.update_run(self.run, status="RUNNING")
            # Of a run that was killed, the last second may be missing.
            steps = [one.step for one in self.client.get_metric_history(self.run, "train/loss")]
            self.told = {**run.told, "train": max(steps, default=0)}
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or run.name
        found = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if found is None else found.experiment_id
        own = self.client.create_run(experiment, run_name=run.directory.resolve().name)
        self.run, self.told = own.info.run_id, {}
        _keep_run(run, f"mlflow {self.uri}", self.run)
        for setting, value in run.settings.items():
            self.client.log_param(self.run, _key(setting), value)
        self.client.log_text(self.run, run.spec, "spec.arec")

    def note(self, kind: str, step: int, values: Values) -> None:
        from mlflow.entities import Metric, RunTag

        if step <= self.told.get(kind, 0):
            return
        now = int(1000 * time.time())
        self.waiting += [Metric(_key(name), value, now, step) for name, value in _scalars(kind, values)]
        if kind != "train" or time.monotonic() - self.handed > 1:
            self._hand_over([RunTag(name, text) for name, text in _texts(kind, values).items()])
        self.saved = self.saved or kind == "saved"

    def _hand_over(self, tags: Sequence[Any] = ()) -> None:
        for at in range(0, len(self.waiting), MOST):
            self.client.log_batch(self.run, self.waiting[at : at + MOST])
        if tags:
            self.client.log_batch(self.run, tags=tags)
        self.waiting, self.handed = [], time.monotonic()

    def close(self) -> None:
        if self.run:
            self._hand_over()
            self.client.set_terminated(self.run, "FINISHED" if self.saved else "KILLED")


class _Wandb:
    """A run of Weights & Biases: its config, its history by step, its summary, the spec as a file."""

    def __init__(self, project: str | None) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb as library

        self.library, self.project = library, project
        self.run: Any = None
        self.where = ""
        self.saved = False
        self.told: Mapping[str, int] = {}

    def __str__(self) -> str:
        return f"Weights & Biases ({self.where})" if self.where else "Weights & Biases"

    def begin(self, run: Run) -> None:
        before = _run_of(run, "wandb")
        self.saved, self.told = False, run.told if before else {}
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self.run = self.library.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or run.name,
            name=run.directory.resolve().name,
            id=before,
            resume="allow" if before else None,
            config=None if before else dict(run.settings),
            mode=mode,
            settings=self.library.Settings(console="off", silent=True),
        )
        folder = Path(self.run.dir)
        offline = bool(self.run.settings._offline)
        self.where = f"offline: wandb sync {_shown(folder.parent)} sends it" if offline else str(self.run.url)
        if before is None:
            _keep_run(run, "wandb", self.run.id)
            (folder / "spec.arec").write_text(run.spec, encoding="utf-8")
            self.run.save(str(folder / "spec.arec"), base_path=str(folder), policy="now")

    def note(self, kind: str, step: int, values: Values) -> None:
        if step <= self.told.get(kind, 0):
            return
        found = dict(_scalars(kind, values))
        if kind in ("train", "valid"):
            self.run.log(found, step=step)
        else:
            self.run.summary.update({**found, **_texts(kind, values)})
        self.saved = self.saved or kind == "saved"

    def close(self) -> None:
        if self.run is not None:
            self.run.finish(exit_code=0 if self.saved else 1)


def _scalars(kind: str, values: Values) -> Iterator[tuple[str, float]]:
    """The numbers of a note by name: train/loss, valid/click/auc, best/click/auc, test/click/auc."""
    for name in ("loss", "lr", "speed"):
        if name in values:
            yield f"{kind}/{name}", values[name]
    of = "best" if kind == "saved" else kind
    for prediction, metrics in values.get("metrics", {}).items():
        for metric, value in metrics.items():
            yield f"{of}/{prediction}/{metric}", value


def _texts(kind: str, values: Values) -> dict[str, str]:
    """What a saved model is known by."""
    if kind != "saved":
        return {}
    return {"folder": values["folder"], "hash": values["hash"], "best epoch": str(values["epoch"])}


def _key(name: str) -> str:
    """A name as MLflow takes it: ndcg@5 as ndcg_at_5."""
    return name.replace("@", "_at_")


def _shown(path: Path) -> str:
    """A path as it is typed here."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _run_of(run: Run, logger: str) -> str | None:
    """The id of a logger's run that a training goes on in, if it goes on and has one."""
    if not run.step:
        return None
    found = _runs(run).get(logger)
    return found if isinstance(found, str) and re.fullmatch(r"[\w-]+", found) else None


def _keep_run(run: Run, logger: str, id: str) -> None:
    before = _runs(run) if run.step else {}
    with replace_file(run.directory / RUNS) as fresh:
        fresh.write_text(json.dumps({**before, logger: id}, indent=2) + "\n", encoding="utf-8")


def _runs(run: Run) -> dict[str, Any]:
    try:
        found = json.loads((run.directory / RUNS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
