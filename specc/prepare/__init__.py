"""From an event log (user, item, category, behaviour, time) to Parquet examples for a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specc.prepare.settings import PrepareError, Settings

__all__ = ["PrepareError", "Prepared", "Settings", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """files: what was written. settings: all that was settled, as `prepare.yaml` says it. notes: what was
    skipped and what looks wrong. users, items, events: how many the log has."""

    files: tuple[Any, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    users: int
    items: int
    events: int


def prepare(
    manifest: Mapping[str, Any], log: Path, directory: Path, settings: Settings, requests: bool = False
) -> Prepared:
    """Write train.parquet, test.parquet (valid.parquet, requests.parquet) and prepare.yaml to a directory.

    manifest: of the spec's model. requests: also the test examples as requests with candidates, to score.
    Raises PrepareError.
    """
    import pyarrow.parquet as pq
    import yaml

    from specc.prepare.examples import ROW_GROUP, Builder, splits, write
    from specc.prepare.log import read_log
    from specc.prepare.mapping import map_fields

    reading = read_log(log, settings)
    sources = map_fields(manifest, reading.log, settings)
    parts = splits(reading.log, settings)
    directory.mkdir(parents=True, exist_ok=True)
    builder = Builder(manifest, reading.log, sources, settings)
    files = tuple(write(builder, part, directory) for part in parts)
    missing = sum(int((part.negatives < 0).sum()) for part in parts)
    notes = list(reading.notes)
    if missing:
        notes.append(f"{missing:,} negatives could not be found: everything was taken in those sessions")
    if requests:
        table = builder.requests(parts[-1].events, parts[-1].negatives)
        pq.write_table(table, directory / "requests.parquet", row_group_size=ROW_GROUP, compression="zstd")
    settled = settings.model_copy(
        update={
            "columns": dict(reading.columns),
            "item_columns": dict(reading.item_columns),
            "fields": dict(sources.fields),
            "spaces": dict(sources.spaces),
            "labels": dict(sources.labels),
        }
    ).model_dump(mode="json", exclude_none=True)
    (directory / "prepare.yaml").write_text(
        "# How these examples were made. Edit it, and give it to `specc prepare --map`.\n"
        + yaml.safe_dump(settled, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    log_ = reading.log
    return Prepared(files, settled, tuple(notes), len(log_.users), len(log_.items), len(log_))
