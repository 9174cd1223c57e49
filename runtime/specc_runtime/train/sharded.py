"""Tables divided between processes by TorchRec (https://meta-pytorch.org/torchrec), in training.

A process takes the distinct ids that its batch reads of each table, TorchRec fetches these rows from where
they are, and they are the table's weight for a step. TorchRec takes their gradients back, adds up what
several processes have of a row, and updates it where it is, with FBGEMM's optimizers. How many examples,
candidates and positions name a row never reaches it.

Promises: with SGD and Adagrad the rows are those that one process would learn, up to rounding. They begin
with the values that one process draws. A table's width may be any: TorchRec's is the next that 4 divides, and
what is beyond is 0. Checkpoints are files of safetensors (torch.distributed.checkpoint), for any number of
processes. Nobody ever holds a whole table.
Leaves to others: what lies where (planned), which tables are divided at all (divided).
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specc_runtime import ranks
from specc_runtime.batch import Bag, Batch
from specc_runtime.devices import transfer
from specc_runtime.fetched import hold
from specc_runtime.files import sync, unwritable
from specc_runtime.model import Model
from specc_runtime.packages import torchrec_from
from specc_runtime.record import ArtefactError, digest
from specc_runtime.train.choice import TrainingError
from specc_runtime.train.divided import are_divided, check, tables_of
from specc_runtime.train.lazy import DENSE
from specc_runtime.train.planned import Asked, feature, planned, reads_of, wide
from specc_runtime.train.recipe import Recipe
from specc_runtime.weights import write_pieces

_PIECE = 2**20  # numbers of a table that are moved at once
_FILE = 2**26  # and that are in a file of a checkpoint


@contextmanager
def sharded(model: Model, recipe: Recipe, rowwise: bool = False) -> Iterator[Sharded | None]:
    """What holds the tables of a model whose storage was taken away (see divided), while it is trained; None
    where there are none. rowwise: whether Adagrad keeps one number a row. Raises TrainingError."""
    paths = are_divided(model)
    if not paths:
        yield None
        return
    device = check(model, paths, recipe, rowwise)
    exchanges = _exchanges()
    joined = ranks.now()
    if joined is not None and joined.by_host and device.type != "cpu":
        raise TrainingError(
            "tables that are divided between processes on accelerators take one for each process: start "
            "fewer processes, or train on the CPU"
        )
    # The losses of parts are summed, so their gradients are, too.
    divides = exchanges.get_gradient_division()
    exchanges.set_gradient_division(False)
    try:
        with _alone(joined, device):
            with _unwarned(), ranks.heard():
                found = model.source = Sharded(model, paths, recipe, rowwise, device)
            yield found
    finally:
        model.source = None
        exchanges.set_gradient_division(divides)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Keep what TorchRec and torch.distributed.checkpoint warn of, each other's old ways, to themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _exchanges() -> Any:
    """TorchRec's exchanges. Raises TrainingError where it is not installed."""
    for name in ("torchrec", "torch.fx._symbolic_trace"):  # they warn of what is as it has to be
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with _unwarned():
            from torchrec.distributed import comm_ops
    except (ImportError, OSError) as error:
        raise TrainingError(
            f"tables that are divided between processes take torchrec, which cannot be loaded ({error}):\n"
            f"  {torchrec_from()}"
        ) from None
    return comm_ops


@contextmanager
def _alone(joined: ranks.Ranks | None, device: torch.device) -> Iterator[None]:
    """Have a group of this process alone, where it has joined no others."""
    if joined is not None:
        yield
        return
    import torch.distributed as dist

    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    dist.init_process_group(backend, store=_store(), rank=0, world_size=1, timeout=timedelta(days=7))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _store() -> Any:
    """Where a process that is alone leaves notes for itself."""
    from torch._C._distributed_c10d import HashStore

    return HashStore()


class Sharded:
    """The tables of a model that TorchRec holds: a Source (see fetched). plan: how each is held, in words."""

    def __init__(
        self, model: Model, paths: tuple[str, ...], recipe: Recipe, rowwise: bool, device: torch.device
    ) -> None:
        held = tables_of(model)
        self.tables = {path: held[path.removesuffix(".weight")] for path in paths}
        starts = {path: table.start for path, table in self.tables.items() if table.start is not None}
        self.shapes: Mapping[str, tuple[int, int]] = {p: (s.rows, s.width) for p, s in starts.items()}
        self.dtypes = {
            path: torch.float32 if start.values is None else start.values.dtype
            for path, start in starts.items()
        }
        self.fields = {t["path"]: t["fields"] for t in model.manifest["tables"] if t["path"] in self.tables}
        self.device, self.adam = device, recipe.optimizer == "adam"
        self.options = DENSE[recipe.optimizer]([torch.zeros(1)], **recipe.torch_options()).defaults
        joined, reads = ranks.now(), reads_of(model.manifest)
        batch = recipe.batch if joined is None else -(-recipe.batch // joined.count)
        self.planned = planned(
            Asked(self.shapes, reads, batch, recipe.optimizer, self.options, rowwise, device)
        )
        self.plan = self.planned.said
        self.groups = self.planned.by_width
        self.param_groups: list[dict[str, Any]] = [
            group for made in self.groups.values() for group in made.fused_optimizer.param_groups
        ]
        self.steps, self._leads = 0, False
        self._later: list[tuple[str, Tensor | None, Tensor]] = []
        self._rows: dict[str, tuple[Tensor, nn.Parameter]] = {}

    @ranks.heard()
    def _looked_up(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows of some ids of each table [n, wide], in their order; of a table that is not given none."""
        from torchrec import KeyedJaggedTensor

        found: dict[str, Tensor] = {}
        none = torch.zeros(0, dtype=torch.int64, device=self.device)
        for size, group in self.groups.items():
            own = [path for path, (_, width) in self.shapes.items() if wide(width) == size]
            asked = [ids.get(path, none) for path in own]
            lengths = torch.tensor([len(some) for some in asked], device=self.device)
            keys = [feature(self.planned.names[path]) for path in own]
            given = KeyedJaggedTensor(keys=keys, values=torch.cat(asked), lengths=lengths, stride=1)
            rows = group(given)
            found |= {path: rows[key].values() for path, key in zip(own, keys, strict=True)}
        return found

    @ranks.heard()
    def tensors(self) -> dict[str, Any]:
        """By path, each table's weight, and its optimizer's states as PATH@STATE: torch's ShardedTensors."""
        found: dict[str, Any] = {}
        paths = {name: path for path, name in self.planned.names.items()}
        for group in self.groups.values():
            with _unwarned():
                weights, optimizer = group.state_dict(), group.fused_optimizer.state_dict()
            for name, weight in weights.items():
                found[paths[name.split(".")[1]]] = weight
            for name, states in optimizer["state"].items():
                path = paths[name.split(".")[1]]
                found |= {f"{path}@{state.rpartition('.')[2]}": value for state, value in states.items()
                          if hasattr(value, "local_shards")}  # fmt: skip
        return found

    # ------------------------------------------------------------- a step

    @contextmanager
    def fetched(self, batch: Batch) -> Iterator[None]:
        self._tell_others(True)
        if self.adam and torch.is_grad_enabled():
            self._count()
        ids = {path: self._named(path, batch) for path in self.tables}
        learns = torch.is_grad_enabled()
        self._rows = {}
        try:
            for path, rows in self._looked_up(ids).items():
                width = self.shapes[path][1]
                own = rows.detach()[:, :width].to(self.dtypes[path], copy=True)
                leaf = nn.Parameter(own.contiguous(), requires_grad=learns)
                hold(leaf, ids[path])
                self.tables[path]._parameters["weight"] = leaf
                self._rows[path] = rows, leaf
            yield
        finally:
            for table in self.tables.values():
                table._parameters["weight"] = None

    def _named(self, path: str, batch: Batch) -> Tensor:
        """The distinct ids that a batch reads of a table, ascending."""
        read = [batch.fields[field] for field in self.fields[path] if field in batch.fields]
        every = [transfer(x.values if isinstance(x, Bag) else x, self.device).flatten() for x in read]
        return torch.unique(torch.cat(every)) if every else torch.zeros(0, dtype=torch.int64)

    @ranks.heard()
    def learn(self) -> None:
        rows, gradients = [], []
        for fetched, leaf in self._rows.values():
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            rows.append(fetched)
            gradients.append(F.pad(gradient.to(fetched.dtype), (0, fetched.shape[1] - leaf.shape[1])))
        for group in self.groups.values():
            group.fused_optimizer.step()  # which sets the learning rate: rows are updated in backward
        torch.autograd.backward(rows, gradients)
        self._rows = {}
        self.steps += 1

    def _count(self) -> None:
        """Tell FBGEMM's Adam the step, as it counts evaluations, too."""
        for group in self.groups.values():
            group.fused_optimizer.set_optimizer_step(self.steps)
            for module in group.modules():
                if hasattr(module, "iter_cpu"):
                    module.iter_cpu.zero_()

    # ------------------------------------------------------------- one process alone

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Let the first process read rows on its own, while the others `follow`."""
        self._leads = True
        try:
            yield
        finally:
            self._tell_others(False)
            self._leads = False

    def follow(self) -> None:
        """Give the first process the rows that it asks for, until it needs none any more."""
        joined = ranks.now()
        with torch.no_grad():
            while joined is not None and joined.numbers(0)[0] == [1]:
                self._looked_up({})

    def _tell_others(self, goes_on: bool) -> None:
        joined = ranks.now()
        if self._leads and joined is not None:
            joined.numbers(int(goes_on))

    @torch.no_grad()
    def pieces(self, path: str) -> Iterator[Tensor]:
        rows, width = self.shapes[path]
        size = max(_PIECE // width, 1)
        for begin in range(0, rows, size):
            self._tell_others(True)
            ids = torch.arange(begin, min(begin + size, rows), device=self.device)
            yield self._looked_up({path: ids})[path][:, :width].cpu()

    # ------------------------------------------------------------- values from elsewhere

    def give(self, path: str, rows: Tensor | None, values: Tensor) -> None:
        self._later.append((path, rows, values))

    @torch.no_grad()
    def begin(self) -> None:
        """Give all tables their starting values."""
        held = self.tensors()
        for name, found in held.items():
            first = self.options.get("initial_accumulator_value", 0.0) if "@" in name else 0.0
            for shard in found.local_shards():
                shard.tensor.fill_(first)
        for path, table in self.tables.items():
            assert table.start is not None
            for begin, values in table.start.pieces(max(_PIECE // self.shapes[path][1], 1)):
                _write(held[path], slice(begin, begin + len(values)), values)
        joined = ranks.now()
        coming = [(path, rows is not None, len(values)) for path, rows, values in self._later]
        for number, (path, some, count) in enumerate(coming if joined is None else joined.say(coming)):
            size = max(_PIECE // self.shapes[path][1], 1)
            for begin in range(0, count, size):
                into = torch.arange(begin, min(begin + size, count))
                part = torch.empty(len(into), self.shapes[path][1])
                if number < len(self._later):
                    _, rows, values = self._later[number]
                    part.copy_(values[begin : begin + size])
                    into = into if rows is None else rows[begin : begin + size].clone()
                if joined is not None:
                    joined.share([into, part] if some else [part])
                _write(held[path], into, part)
        self._later = []

    # ------------------------------------------------------------- checkpoints

    def save(self, folder: Path) -> dict[str, str]:
        """Write the tables and their optimizer's states into a folder, each process what it holds, in files
        that torch.distributed.checkpoint reads. Returns the hashes of all. Raises FileError."""
        joined = ranks.now()
        number = 0 if joined is None else joined.number
        own: dict[str, str] = {}
        try:
            folder.mkdir(exist_ok=True)
            for name, held in self.tensors().items():
                for shard in held.local_shards():
                    # Of itself torch would copy all that a process holds before it writes.
                    for begin, part in _parts(shard.tensor):
                        first, *others = shard.metadata.shard_offsets
                        where = {name: {"saved_offsets": [first + begin, *others]}}
                        file = folder / f"{number:05}-{len(own):05}.safetensors"
                        pieces = part.split(max(_PIECE // max(part[0].numel(), 1), 1))
                        about = json.dumps(where)
                        write_pieces(file, {}, {name: (tuple(part.shape), pieces)}, DCP_SHARDING_INFO=about)
                        sync(file)
                        own[file.name] = digest(file)
        except OSError as error:
            raise unwritable(folder, error) from None
        every = [own] if joined is None else joined.said(own)
        return {name: value for some in every for name, value in some.items()}

    @ranks.heard()
    def load(self, folder: Path, step: int) -> None:
        """Read what any number of processes has saved. step: after which it was. Raises ArtefactError."""
        from torch.distributed.checkpoint import hf_storage, state_dict_loader

        reader = hf_storage.HuggingFaceStorageReader(str(folder))
        try:
            with _unwarned():
                state_dict_loader.load(self.tensors(), storage_reader=reader)
        except Exception as error:
            if ranks.is_lost(error):
                raise
            raise ArtefactError(f"{folder} cannot be read: {_reason(error)}") from None
        self.steps = step


def _write(held: Any, rows: slice | Tensor, values: Tensor) -> None:
    """Write rows of a table [n, width] into what of them this process holds."""
    for shard in held.local_shards():
        (row, column), (count, wide) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
        own = values[:, column : column + wide]
        into = shard.tensor[:, : own.shape[1]]
        if isinstance(rows, slice):
            begin, end = max(rows.start, row), min(rows.stop, row + count)
            if begin < end:
                into[begin - row : end - row] = own[begin - rows.start : end - rows.start].to(into)
        else:
            inside = (rows >= row) & (rows < row + count)
            into[(rows[inside] - row).to(into.device)] = own[inside].to(into)


def _parts(held: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the rows of a tensor as it is written: so many to a file that reading it needs little memory."""
    if len(held):
        size = max(_FILE // max(held[0].numel(), 1), 1)
        yield from zip(range(0, len(held), size), held.split(size), strict=True)


def _reason(error: BaseException) -> str:
    last = [*ranks.causes(error)][-1]
    return f"{type(last).__name__}: {' '.join(str(last).split())[:300]}"
