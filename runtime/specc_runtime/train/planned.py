"""Where TorchRec puts the rows of tables, and how it updates them: its collections of sharded tables.

Promises: its planner chooses, by rows, columns or whole tables, knowing the memory of every process's device
and what an optimizer keeps of a row. Tables of one width are one collection, as TorchRec wants it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from specc_runtime import ranks
from specc_runtime.train.choice import TrainingError
from specc_runtime.train.lazy import DENSE

_SPACE = 4  # TorchRec takes widths that it divides
_COLUMNS = 128  # of a piece of a table that is divided by columns: TorchRec takes pieces of one width


@dataclass(frozen=True, eq=False)
class Asked:
    """Tables that are to be divided.

    shapes: by path, rows and width of each. reads: how many of its rows an example reads. batch: examples of
    a step, in this process. optimizer, options: torch's. rowwise: whether Adagrad keeps one number a row.
    """

    shapes: Mapping[str, tuple[int, int]]
    reads: Mapping[str, float]
    batch: int
    optimizer: str
    options: Mapping[str, Any]
    rowwise: bool
    device: torch.device


@dataclass(frozen=True, eq=False)
class Planned:
    """by_width: a sharded EmbeddingCollection for each width. names: by path, what each table is called in
    its collection; its ids are the feature "ids of NAME". said: how each table is held, in words."""

    by_width: Mapping[int, Any]
    names: Mapping[str, str]
    said: tuple[str, ...]


def planned(asked: Asked) -> Planned:
    """Have TorchRec hold tables. Raises TrainingError where they find no place."""
    import torch.distributed as dist
    from torchrec import EmbeddingCollection, EmbeddingConfig
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.planner import EmbeddingShardingPlanner
    from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
    from torchrec.distributed.types import ShardingEnv

    # A table may be called like an attribute of a module.
    names = {path: f"table_{number}" for number, path in enumerate(asked.shapes)}
    configs: dict[int, list[EmbeddingConfig]] = {}
    for path, (rows, width) in asked.shapes.items():
        config = EmbeddingConfig(
            num_embeddings=rows, embedding_dim=wide(width), name=names[path],
            feature_names=[feature(names[path])], init_fn=_as_it_is,
        )  # fmt: skip
        configs.setdefault(wide(width), []).append(config)
    meta = torch.device("meta")
    whole = nn.ModuleDict(
        {str(w): EmbeddingCollection(tables=own, device=meta) for w, own in configs.items()}
    )
    _update_in_backward(whole, asked)
    cached = [] if asked.device.type == "cpu" else ["fused_uvm_caching"]
    constraints = {
        names[path]: ParameterConstraints(
            sharding_types=_kinds(wide(width), asked.rowwise),
            compute_kernels=["fused", *cached],
            pooling_factors=[asked.reads[path]],
        )
        for path, (_, width) in asked.shapes.items()
    }
    planner = EmbeddingShardingPlanner(
        topology=_topology(asked.device), batch_size=asked.batch, constraints=constraints
    )
    sharder = EmbeddingCollectionSharder()
    try:
        plan = planner.plan(whole, [sharder]).plan
    except PlannerError as error:
        raise TrainingError(
            f"TorchRec's planner finds no place for the tables: {' '.join(str(error).split())[:600]}"
        ) from None
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    by_width = {w: sharder.shard(whole[str(w)], plan[str(w)], env, asked.device) for w in configs}
    paths = {name: path for path, name in names.items()}
    said = [_said(paths[name], how) for w in configs for name, how in plan[str(w)].items()]
    return Planned(by_width, names, tuple(said))


def wide(width: int) -> int:
    """How wide TorchRec has a table."""
    return math.ceil(width / _SPACE) * _SPACE


def feature(name: str) -> str:
    """What the ids of a table are called."""
    return f"ids of {name}"


def reads_of(manifest: Mapping[str, Any]) -> dict[str, float]:
    """By path of a table, how many of its rows an example reads at most, of fields that are no bags."""
    bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
    axes = {f["path"]: f["axes"] for f in (*manifest["fields"], *manifest.get("crosses", ()))}
    return {
        table["path"]: float(sum(math.prod(bounds[a] for a in axes[f]) for f in table["fields"]) or 1)
        for table in manifest["tables"]
    }


def _kinds(wide: int, rowwise: bool) -> list[str]:
    """How a table may be divided. One state a row is the same for all columns, and kept where these are."""
    by_columns = wide > _COLUMNS and wide % _COLUMNS == 0 and not rowwise
    return ["row_wise", "table_wise", *(["column_wise"] if by_columns else [])]


def _update_in_backward(whole: nn.Module, asked: Asked) -> None:
    """Have TorchRec update rows in backward: so its planner counts the optimizer's state, too."""
    from torch.distributed import optim
    from torchrec.optim import RowWiseAdagrad

    given = {"lr": float(asked.options["lr"])}
    if asked.optimizer != "sgd":
        given["eps"] = float(asked.options["eps"])
    if asked.optimizer == "adam":
        given["betas"] = tuple(asked.options["betas"])  # type: ignore[assignment]
    kind = RowWiseAdagrad if asked.rowwise else DENSE[asked.optimizer]
    for parameter in whole.parameters():
        optim._apply_optimizer_in_backward(kind, [parameter], dict(given))  # type: ignore[attr-defined]


def _topology(device: torch.device) -> Any:
    """What TorchRec's planner is told of the processes: their number, and the memory of each."""
    from torchrec.distributed.planner import Topology

    joined = ranks.now()
    count, here = (1, 1) if joined is None else (joined.count, joined.here)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // here
    own = 0 if device.type == "cpu" else torch.cuda.get_device_properties(device).total_memory
    sizes = [[host, own]] if joined is None else joined.numbers(host, own)
    host, own = (min(size) for size in zip(*sizes, strict=True))
    more = {} if device.type == "cpu" else {"hbm_cap": own}
    return Topology(world_size=count, local_world_size=here, compute_device=device.type, ddr_cap=host, **more)


def _said(path: str, how: Any) -> str:
    places = sorted(set(how.ranks or ()))
    of = f"process {places[0]}" if len(places) == 1 else f"processes {places[0]} to {places[-1]}"
    return f"{path.removesuffix('.weight')}: {how.sharding_type.replace('_', '-')}, {of}"


def _as_it_is(weight: Tensor) -> Tensor:
    return weight
