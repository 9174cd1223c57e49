"""What can be said about how a log becomes examples: flags and YAML, checked as one.

Promises: unknown keys are errors; every fault of a file is in one message. What has been settled is written
as the same YAML, so that it can be edited and given again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class PrepareError(ValueError):
    """A log, settings or spec from which no examples can be made; the message lists every fault."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSource(_Part):
    """Where a field's values come from: an attribute of the event or item (user, item, category, behaviour,
    hour, weekday, age, gap), a further column of the log or of the item file, or one constant.

    unit: of age and gap. A column of events is, for the event itself and for those of a history, what the
    event has; for a sampled item what the item had in its last event before.
    """

    attribute: str | None = None
    column: str | None = None
    constant: float | int | str | None = None
    unit: Literal["seconds", "minutes", "hours", "days"] | None = None

    @model_validator(mode="after")
    def _one(self) -> FieldSource:
        if sum(x is not None for x in (self.attribute, self.column, self.constant)) != 1:
            raise ValueError("give one of attribute, column and constant")
        return self


class SpaceSource(_Part):
    """Which events a sequence holds, all of them before the example's: the user's history, those of the
    session that the example is in, or sampled items, one for each event of the history.

    behaviours: only events of these. label: only those with a positive label, or only those without.
    by: what the outer of two axes is: sessions ("idle"), or groups by a column of the log. sessions: only
    those (or only groups) with at least so many events.
    """

    events: Literal["history", "session", "noise"] = "history"
    behaviours: tuple[str, ...] | None = None
    label: Literal["positive", "zero"] | None = None
    by: str | None = None
    sessions: int = Field(default=1, ge=1)


class LabelSource(_Part):
    """Where a prediction's labels come from.

    how: "read" from a column of the log; "made": events have the positive label, sampled items the negative
    one; "item": the item of the event is its class. Without it, what the log has says so.
    column: what is read. behaviours: which events have the positive label; all, without it.
    """

    how: Literal["read", "made", "item"] | None = None
    column: str | None = None
    behaviours: tuple[str, ...] | None = None
    positive: float = 1.0
    negative: float = 0.0


class Settings(_Part):
    """columns: by attribute, its column in the log: a name, or a number from 0.

    negatives: sampled ones an example; None is 1 where labels are made, and 0 where they are read.
    request: the column that says which rows with labels were shown together, besides their user and time.
    impression: columns that only what was really shown has; null for sampled items.
    split: by column, what its texts are split by where a field takes several values.
    null: texts that stand for no value. integral: columns of integers that were written as 7.0.
    """

    columns: dict[str, int | str] = {}
    items: str | None = None
    item_columns: dict[str, int | str] = {}
    positive: tuple[str, ...] | None = None
    negatives: int | None = Field(default=None, ge=0)
    sampling: Literal["uniform", "popularity"] = "uniform"
    session_gap: int = Field(default=1800, ge=1)
    session_min: int = Field(default=1, ge=1)
    history_min: int = Field(default=0, ge=0)
    test: str = "last-day"
    valid: str | None = None
    begin: str | None = None
    end: str | None = None
    utc_offset: float = Field(default=0.0, ge=-14, le=14)
    seed: int = Field(default=0, ge=0)
    impression: tuple[str, ...] = ()
    request: str | None = None
    split: dict[str, str] = {}
    sep: str | None = None
    header: bool | None = None
    null: tuple[str, ...] = ()
    integral: tuple[str, ...] = ()
    fields: dict[str, FieldSource] = {}
    spaces: dict[str, SpaceSource] = {}
    labels: dict[str, LabelSource] = {}

    @field_validator("session_gap", mode="before")
    @classmethod
    def _gap(cls, value: object) -> object:
        return duration(value) if isinstance(value, str) else value


def read_settings(path: Path | None, flags: dict[str, Any]) -> Settings:
    """Return the settings of a YAML file, with the flags that are not None in their place. Raises
    PrepareError."""
    import yaml

    known: dict[str, Any] = {}
    if path is not None:
        try:
            known = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PrepareError(f"{path} cannot be read: {error}") from None
        if not isinstance(known, dict):
            raise PrepareError(f"{path} is not a mapping of settings, such as `negatives: 4`")
    given = {key: value for key, value in flags.items() if value is not None}
    for key in ("columns", "item_columns", "fields", "labels", "spaces", "split"):
        if isinstance(known.get(key), dict) and key in given:
            given[key] = {**known[key], **given[key]}
    try:
        return Settings.model_validate({**known, **given})
    except ValidationError as error:
        where = "the settings" if path is None else str(path)
        raise PrepareError("\n".join(f"{where}: {fault}" for fault in _faults(error))) from None


def _faults(error: ValidationError) -> list[str]:
    found = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            from specc.report.suggest import nearest

            owner: dict[str, type[_Part]] = {
                "fields": FieldSource,
                "spaces": SpaceSource,
                "labels": LabelSource,
            }
            model: type[_Part] = (
                owner.get(str(fault["loc"][0]), Settings) if len(fault["loc"]) > 1 else Settings
            )
            close = nearest(str(fault["loc"][-1]), model.model_fields)
            message = "there is no such key" + (f"; did you mean `{close}`?" if close else "")
        found.append(f"`{place}`: {message}" if place else message)
    return found


def bytes_of(text: str) -> int:
    """Parse "2GB", "500MB" or a number of bytes. Raises PrepareError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if match is None or float(match[1]) == 0:
        raise PrepareError(f"--memory: {text!r} is not an amount such as 2GB or 500MB")
    return max(int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")), 1 << 20)


def duration(text: str) -> int:
    """Parse "30m", "2h", "90s", "1d" or a number of seconds. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+)\s*([smhd]?)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 30m, 90s, 2h or 1d")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def moment(text: str, utc_offset: float) -> int:
    """Parse a Unix time, or a date (and time) in the log's time zone. Raises
    PrepareError."""
    if re.fullmatch(r"\d{9,}", text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise PrepareError(
            f"{text!r} is not a time: write 2017-11-25, 2017-11-25T08:00 or Unix seconds"
        ) from None
    if found.tzinfo is None:
        return int(found.replace(tzinfo=UTC).timestamp() - utc_offset * 3600)
    return int(found.timestamp())
