"""Places and devices from outside of a spec: the command line, a YAML file, Python.

Promises: what a caller says replaces what the spec says, name by name; every name it does not know is
reported with the nearest one that there is. The spec's own places are checked in elaborate/devices.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from specc.elaborate.devices import TARGET
from specc.elaborate.sharding import SHARDED, nowhere, shard, shard_all, sharded
from specc.frozen import dataclass
from specc.ir.graph import Graph
from specc.passes.placement import REST, TABLES, check_places, placeable
from specc.report import Report
from specc.report.suggest import nearest
from specc.source import Span


@dataclass(frozen=True)
class Placement:
    """Overrides of a spec's devices and places.

    devices: device name -> target ("dense" -> "cuda:1").
    places: declared name, "tables" (all of them) or "rest" -> device name, or a target such as "cpu"; of
    tables also "sharded".
    everywhere: the target of every device, or None.
    """

    devices: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    everywhere: str | None = None

    def over(self, other: Placement) -> Placement:
        """This placement where it says something, else the other's."""
        return Placement(
            {**other.devices, **self.devices},
            {**other.places, **self.places},
            self.everywhere or other.everywhere,
        )


class PlacementError(ValueError):
    """Overrides that cannot be read; the message says every fault."""


def from_options(places: Iterable[str], devices: Iterable[str]) -> Placement:
    """The placement of `--place tables=cpu` and `--device dense=cuda:1` or `--device auto`.

    Raises PlacementError.
    """
    faults: list[str] = []
    found: dict[str, str] = {}
    for option in places:
        names, equals, device = option.partition("=")
        parts = [name.strip() for name in names.split(",")]
        if not equals or not all(parts) or not device.strip():
            faults.append(f"--place {option}: write --place NAME=DEVICE, such as --place tables=cpu")
        found |= dict.fromkeys(parts, device.strip())
    targets: dict[str, str] = {}
    everywhere = None
    for option in devices:
        name, equals, target = (part.strip() for part in option.rpartition("="))
        if equals and not name:
            faults.append(f"--device {option}: write --device NAME=TARGET, such as --device dense=cuda:1")
        if not TARGET.fullmatch(target):
            faults.append(
                f"--device {option}: {target or 'nothing'} is no device; use cpu, cuda:1, mps or auto"
            )
        if equals:
            targets[name] = target
        else:
            everywhere = target
    if faults:
        raise PlacementError("\n".join(faults))
    return Placement(targets, found, everywhere)


def from_yaml(path: Path | str) -> Placement:
    """The placement of a YAML file with `devices:` and `places:`, each a mapping of names.

    Raises PlacementError for a file that cannot be read, is not YAML, or has other keys or values.
    """
    import yaml
    from pydantic import BaseModel, ConfigDict, ValidationError

    class File(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        devices: dict[str, str] = {}
        places: dict[str, str] = {}

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        file = File.model_validate({} if content is None else content)
    except (OSError, UnicodeDecodeError) as fault:
        raise PlacementError(f"{path} cannot be read: {fault}") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise PlacementError(f"{path}{where} is not YAML: {getattr(fault, 'problem', fault)}") from None
    except ValidationError as fault:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in fault.errors()]
        raise PlacementError("\n".join(lines)) from None
    wrong = [
        f"{path}: devices.{n}: {t} is no device" for n, t in file.devices.items() if not TARGET.fullmatch(t)
    ]
    if wrong:
        raise PlacementError("\n".join(wrong))
    return Placement(file.devices, file.places)


def to_yaml(graph: Graph) -> str:
    """A graph's devices and places as a file that `from_yaml` reads."""
    import yaml

    places = dict.fromkeys(sharded(graph), SHARDED) | dict(graph.places)
    content: dict[str, Any] = {"devices": dict(graph.devices), "places": places}
    return yaml.safe_dump(content, sort_keys=False)


def to_lines(graph: Graph) -> str:
    """A graph's devices and places as lines of a spec."""
    lines = [f'device {name} = "{target}"' for name, target in graph.devices.items()]
    on: dict[str, list[str]] = {}
    for name, device in (dict.fromkeys(sharded(graph), SHARDED) | dict(graph.places)).items():
        on.setdefault(device, []).append(name)
    for device, names in on.items():
        plain = [name for name in names if name != REST]
        if plain:
            lines.append(f"place {', '.join(plain)} on {device}")
        if REST in names:
            lines.append(f"place {REST} on {device}")
    return "\n".join(lines) + "\n"


def with_placement(graph: Graph, wanted: Placement, report: Report) -> Graph:
    """The graph with its devices and places overridden and checked; what is wrong is reported."""
    at = nowhere(graph)
    graph = _sharded(graph, wanted, report)
    wanted = replace(wanted, places={n: d for n, d in wanted.places.items() if d != SHARDED})
    devices = _devices(graph, wanted, at, report)
    places = dict(graph.places)
    if wanted.everywhere not in (None, "cpu") and not places and not wanted.places:
        # A model without places is on one device as a whole.
        places[REST] = next(iter(devices))
    names = placeable(graph) | set(graph.places)
    for name, device in wanted.places.items():
        if name not in names:
            close = nearest(name, names)
            report.error(
                "E0602",
                f"there is nothing called `{name}` to place",
                at,
                help=f"did you mean `{close}`?" if close else "tables, layers, blocks, bindings have places",
            )
        if device not in devices:
            if not TARGET.fullmatch(device):
                close = nearest(device, devices)
                report.error(
                    "E0603",
                    f"there is no device `{device}`",
                    at,
                    help=f"did you mean `{close}`?" if close else "use a declared one, cpu, cuda:1 or auto",
                )
            target, device = device, _name_for(device, devices)
            devices[device] = target
        places[name] = device
    if TABLES in wanted.places:  # said of all tables, so also of those that the spec places by name
        for owner in {w.owner for w in graph.weights.values() if w.kind == "table"}:
            if owner not in wanted.places:
                places.pop(owner, None)
    spans = {name: span for name, span in graph.place_spans.items() if name not in wanted.places}
    placed = replace(graph, devices=devices, places=places, place_spans=spans)
    if not report.has_errors:
        check_places(placed, report)
    return placed


def _sharded(graph: Graph, wanted: Placement, report: Report) -> Graph:
    """Return a graph whose tables are sharded as is wanted, and which places these nowhere else."""
    asked = {name for name, device in wanted.places.items() if device == SHARDED}
    tables = dict.fromkeys(sorted(w.owner for w in graph.weights.values() if w.kind == "table"))
    for name in sorted(asked - tables.keys() - {TABLES}):
        close = nearest(name, [*tables, TABLES])
        text, more = f"`{name}` is no table, and tables alone are sharded", "its tables: " + ", ".join(tables)
        report.error("E0606", text, nowhere(graph), help=f"did you mean `{close}`?" if close else more)
    if wanted.places.get(TABLES) == SHARDED:
        now = set(sharded(shard_all(graph)))
    else:
        now = set() if TABLES in wanted.places else set(sharded(graph))
    now = (now - wanted.places.keys()) | (asked & tables.keys())
    places = {name: device for name, device in graph.places.items() if name not in now}
    graph = replace(graph, places=places)
    return shard(graph, dict.fromkeys(sorted(now), nowhere(graph)), report)


def _devices(graph: Graph, wanted: Placement, at: Span, report: Report) -> dict[str, str]:
    """The devices by name, with the targets that are wanted of them."""
    devices = {**graph.devices, **{n: t for n, t in wanted.devices.items() if n in wanted.places.values()}}
    if graph.places and REST not in graph.places:
        devices.setdefault(REST, "auto")
    for name, target in wanted.devices.items():
        if name not in devices:
            close = nearest(name, devices)
            report.error(
                "E0603",
                f"there is no device `{name}` to override",
                at,
                help=f"did you mean `{close}`?" if close else f"its devices: {', '.join(devices) or 'none'}",
            )
        devices[name] = target
    if wanted.everywhere is not None:
        devices = dict.fromkeys(devices or [_name_for(wanted.everywhere, {})], wanted.everywhere)
    return devices


def _name_for(target: str, devices: Mapping[str, str]) -> str:
    """A device name for a target: `cuda:1` -> `cuda_1`."""
    known = next((name for name, other in devices.items() if other == target), None)
    return known or re.sub(r"\W", "_", target)
