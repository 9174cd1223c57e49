"""A trained model's folder as a model card: Markdown under the metadata that the Hugging Face Hub reads.

https://huggingface.co/docs/hub/model-cards has what the Hub documents of it. Promises: every figure is of the
weights that the folder has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import yaml

from specc_runtime.record import (
    RECORD,
    SPEC,
    WEIGHTS,
    ArtefactError,
    Held,
    consistent,
    digest,
    models_in,
)
from specc_runtime.train.content import identity
from specc_runtime.trained import read_training

Results = Mapping[str, Mapping[str, Mapping[str, float]]]
WHO = {"model": "this model", "popularity": "popularity of the item", "mean": "always the mean"}
NAMED = 10  # data files
# By kind of prediction, the task that the Hub has for it.
_TASKS = {"binary": "tabular-classification", "class": "tabular-classification", "real": "tabular-regression"}


@dataclass(frozen=True)
class Figures:
    """Metrics by prediction and by who predicts. part: "test" or "valid". data: name and sha256 of each file.
    examples: how many, where that is known."""

    results: Results
    part: str
    data: Sequence[Mapping[str, str]]
    examples: int | None = None


@dataclass(frozen=True)
class Known:
    """What a folder says. training: as training.json has it, None where the folder has none of these weights.
    hash: of artefact.json."""

    manifest: Mapping[str, Any]
    spec: str
    training: Mapping[str, Any] | None
    versions: Mapping[str, Any]
    hash: str

    def validation(self) -> Figures | None:
        """The metrics of the best epoch on validation data, if there were any."""
        if self.training is None or not self.training["best"]:
            return None
        found = self.training["epochs"][self.training["best"] - 1].get("valid")
        if found is None:
            return None
        results = {name: {"model": metrics} for name, metrics in found.items()}
        return Figures(results, "valid", self.training.get("valid", ()))


def read(folder: Path) -> Known:
    """What a trained model's folder says. Raises ArtefactError."""

    def known(files: Held) -> Known:
        if files.record is None or not files.record.trained:
            why = "it was only compiled" if files.has("manifest.json") else "it is no model's"
            advice = models_in(folder) or "; `specc train` makes one"
            raise ArtefactError(f"{folder} has no trained model: {why}{advice}")
        files.check([WEIGHTS])
        return Known(
            json.loads(files.text("manifest.json")),
            files.text(SPEC) if files.has(SPEC) else "",
            read_training(files),
            files.record.versions,
            digest(files.place(RECORD)),
        )

    return consistent(folder, known)


def card(known: Known, figures: Figures | None, licence: str | None) -> str:
    """Return the card. licence: by the Hub's identifier; None where nobody has chosen one."""
    manifest = known.manifest
    blocks = [
        f"# {manifest['name']}",
        manifest["doc"],
        _about(manifest),
        "## How to use it",
        _USE,
        "## What it reads",
        _table(("field", "column", "of", "encoding"), [_field(f) for f in manifest["fields"]]),
        "## What it predicts",
        _table(("prediction", "kind", "label"), [_prediction(p) for p in manifest["predictions"]]),
        "## Trained on",
        _trained(known),
        "## Evaluation",
        "Nothing is known yet." if figures is None else _evaluated(figures),
        "## Licence",
        _UNCHOSEN if licence is None else f"`{licence}`",
        *(["## Spec", f"```arec\n{known.spec.rstrip()}\n```"] if known.spec else []),
    ]
    head = yaml.safe_dump(_metadata(manifest, figures, licence), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(block for block in blocks if block) + "\n"


_USE = """With this folder as `model` and `pip install arec-runtime`:

```python
from specc_runtime import encoded, load
from specc_runtime.score import Scorer

model = load("model")  # runs its model.py; specc.load("model"), of arec, compiles its spec instead
# encoded(model, rows) makes a batch of a frame or of a list of dicts, and Scorer.load("model").score(request)
# scores the candidates of one request
```

On the command line (`pip install arec`): `specc predict model DATA`, `specc serve model`."""

_UNCHOSEN = (
    "**Nobody has chosen a licence yet.** Say which it is, here and under `license` in the first lines."
)


def _metadata(manifest: Mapping[str, Any], figures: Figures | None, licence: str | None) -> dict[str, Any]:
    """The first lines, by the names that the Hub documents."""
    kinds = [_TASKS[p["kind"]] for p in manifest["predictions"] if p["kind"] in _TASKS]
    found: dict[str, Any] = {
        "license": licence or "unknown",
        "library_name": "arec",
        "tags": ["recommendation", "tabular", "arec", "pytorch"],
    }
    if kinds:
        found["pipeline_tag"] = kinds[0]
    if figures is not None:
        found["metrics"] = list(dict.fromkeys(m for of in figures.results.values() for m in of["model"]))
        kind_of = {p["name"]: p["kind"] for p in manifest["predictions"]}
        files = ", ".join(entry["name"] for entry in figures.data[:NAMED]) or figures.part
        found["model-index"] = [
            {
                "name": manifest["name"],
                "results": [
                    {
                        "task": {"type": _TASKS.get(kind_of[name], "other"), "name": name},
                        "dataset": {
                            "name": files,
                            "type": "tabular",
                            "split": "validation" if figures.part == "valid" else figures.part,
                            **({"revision": identity(figures.data)} if figures.data else {}),
                        },
                        "metrics": [
                            {"type": metric, "value": round(value, 6), "name": metric}
                            for metric, value in of["model"].items()
                        ],
                    }
                    for name, of in figures.results.items()
                ],
            }
        ]
    return found


def _about(manifest: Mapping[str, Any]) -> str:
    weights = [w for w in manifest["weights"] if w["kind"] != "buffer"]
    total = sum(prod(w["shape"]) for w in weights)
    tables = sum(prod(w["shape"]) for w in weights if w["kind"] == "table")
    said = f"A recommendation model with {total:,} parameters, {tables:,} of them in tables"
    params = ", ".join(f"{name} = {json.dumps(value)}" for name, value in manifest["params"].items())
    return said + (f", with {params}." if params else ".")


def _field(field: Mapping[str, Any]) -> tuple[str, ...]:
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in field["options"].items())
    columns = " or ".join(f"`{name}`" for name in (field["column"], field["fallback"]) if name)
    of = f"{field['role']}, a sequence" if field["axes"] else field["role"]
    return f"`{field['path']}`", columns, of, f"{field['encoding']}({options})"


def _prediction(prediction: Mapping[str, Any]) -> tuple[str, ...]:
    return f"`{prediction['name']}`", prediction["kind"], f"`{prediction['column']}`"


def _trained(known: Known) -> str:
    """What is known of the data and the recipe, as a list."""
    versions = ", ".join(f"{name} {value}" for name, value in known.versions.items())
    lines = [
        f"- written by {versions}",
        f"- sha256 of `{RECORD}`, which has those of all files: `{known.hash}`",
    ]
    training = known.training
    if training is None:
        return "\n".join(["- the folder does not say on what", *lines])
    options = ", ".join(f"{name} = {value:g}" for name, value in training["options"].items())
    recipe = f"- {training['optimizer']}({options}), {training['batch']:,} examples a step"
    own = [_data("data", training["data"], training.get("examples"))]
    if training.get("period"):
        own.append("- from {} to {}".format(*training["period"]))
    if training.get("valid"):
        own.append(_data("validation data", training["valid"], None))
    epochs = f", epoch {training['best']} of {len(training['epochs'])}, seed {training['seed']}"
    return "\n".join([*own, recipe + epochs, *lines])


def _data(what: str, files: Sequence[Mapping[str, str]], examples: int | None) -> str:
    many = f"{examples:,} examples, " if examples is not None else ""
    names = ", ".join(f"`{entry['name']}`" for entry in files[:NAMED])
    more = f" and {len(files) - NAMED:,} more files" if len(files) > NAMED else ""
    return f"- {what}: {many}{names}{more}, sha256 `{identity(files)}`"


def _evaluated(figures: Figures) -> str:
    """A table for each prediction, and what it was measured on."""
    what = "the validation data, by which the epoch was chosen" if figures.part == "valid" else "test data"
    many = "" if figures.examples is None else f", {figures.examples:,} examples"
    names = ", ".join(f"`{entry['name']}`" for entry in figures.data[:NAMED])
    said = f": {names}, sha256 `{identity(figures.data)}`" if figures.data else ""
    blocks = [f"On {what}{many}{said}."]
    for name, of in figures.results.items():
        metrics = list(dict.fromkeys(m for one in of.values() for m in one))
        rows = [
            (WHO.get(who, who), *("" if m not in one else f"{one[m]:.5f}" for m in metrics))
            for who, one in of.items()
        ]
        blocks.append(_table((name, *metrics), rows))
    return "\n\n".join(blocks)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
