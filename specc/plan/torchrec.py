"""What TorchRec's planner proposes for the tables of a plan, where torchrec is installed.

Promises: the planner is given the devices, bytes and rates of the plan, and the rows that a batch names; what
it refuses is said in its own words. No table is made: only their sizes count.
"""

from __future__ import annotations

import logging
import math
import warnings
from typing import Any

from specc.plan.cluster import Cluster, Sharding
from specc_runtime.packages import torchrec_from

SPACE = 4  # TorchRec takes widths that are divisible by it
FREE = 0.15  # of each device, for all that is no table


class PlannerError(RuntimeError):
    """TorchRec is not there, or its planner has no plan. The message is a sentence."""


def propose(found: Sharding, cluster: Cluster) -> list[dict[str, Any]]:
    """Return for each table how TorchRec would hold it, and on which devices. Raises PlannerError."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # such as that a table which every device has is not divided
    try:
        with warnings.catch_warnings():  # of parts of fbgemm that nothing here uses
            warnings.simplefilter("ignore")
            return _proposed(found, cluster)
    finally:
        logging.disable(before)


def _proposed(found: Sharding, cluster: Cluster) -> list[dict[str, Any]]:
    try:
        import torch
        from torchrec import EmbeddingCollection, EmbeddingConfig
        from torchrec.distributed.embedding import EmbeddingCollectionSharder
        from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
        from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
        from torchrec.distributed.planner.types import ParameterConstraints
        from torchrec.distributed.planner.types import PlannerError as Refused
    except (ImportError, OSError) as error:
        raise PlannerError(
            f"--engine torchrec takes torchrec, which cannot be loaded ({error}):\n  {torchrec_from()}"
        ) from None
    shards = [s for s in found.shards if s.held != "copied"]
    by_width: dict[int, list[EmbeddingConfig]] = {}  # a collection has tables of one width
    for number, shard in enumerate(shards):
        width = math.ceil(shard.width / SPACE) * SPACE
        by_width.setdefault(width, []).append(
            EmbeddingConfig(
                num_embeddings=shard.count,
                embedding_dim=width,
                name=f"table_{number}",
                feature_names=[f"ids_{number}"],
            )
        )
    meta = torch.device("meta")
    made = (EmbeddingCollection(tables=some, device=meta) for some in by_width.values())
    tables: Any = torch.nn.ModuleList(made)
    # The planner counts the state of an optimizer that is applied in backward, and takes it from here.
    by_states = {0: torch.optim.SGD, 1: torch.optim.Adagrad, 2: torch.optim.Adam}
    for name, parameter in tables.named_parameters():
        shard = shards[int(name.split(".")[-2].removeprefix("table_"))]
        states = min(round(shard.state / shard.bytes), 2) if shard.bytes else 0
        parameter._optimizer_classes = [by_states[states]]
    topology = Topology(
        world_size=cluster.number,
        local_world_size=min(cluster.number, 8),
        compute_device="cuda",
        hbm_cap=cluster.capacity,
        hbm_mem_bw=cluster.memory / 1000,  # bytes a millisecond
        intra_host_bw=cluster.wire / 1000,
        inter_host_bw=cluster.wire / 1000,
    )
    # One key a table with the different rows of a batch, as training asks for them.
    constraints = {
        f"table_{number}": ParameterConstraints(pooling_factors=[max(shard.rows, 1) / found.batch])
        for number, shard in enumerate(shards)
    }
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=found.batch,
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(FREE),
    )
    try:
        plan = planner.plan(tables, [EmbeddingCollectionSharder()])
    except Refused as error:
        text = " ".join(str(error).split())
        raise PlannerError(f"TorchRec's planner has no plan: {text}") from None
    rows = []
    for parameters in plan.plan.values():
        for name, sharding in parameters.items():
            shard = shards[int(name.removeprefix("table_"))]
            rows.append(
                {
                    "table": shard.path.removesuffix(".weight"),
                    "sharding": sharding.sharding_type,
                    "kernel": sharding.compute_kernel,
                    "devices": list(sharding.ranks or ()),
                }
            )
    return rows
