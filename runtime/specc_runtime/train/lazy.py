"""Optimizers that touch only the table rows of the batch.

A dense gradient has every row of a table, and a dense optimizer reads and writes every row's weight
and state at every step, so that a step takes as long as the tables are large. Here a table's gradient
holds the rows that the batch names, and the optimizer visits those.

Promises: for SGD and Adagrad the very updates of the dense optimizers (a row without gradient does not
move there either). For Adam a row's moments decay only at the steps that name the row, and only then
does it move, where dense Adam goes on moving it by its remembered momentum; where every batch names
every row the two are the same. Weight decay is not applied to tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from specc_runtime.layers import Table
from specc_runtime.train.rowwise import RowAdagrad, RowAdam, RowSGD

DENSE: Mapping[str, type[Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
# By rule the optimizer of a table's rows, and the options that it has in common with the dense one.
BY_ROW: Mapping[str, tuple[type[Optimizer], frozenset[str]]] = {
    "adagrad": (RowAdagrad, frozenset({"lr", "lr_decay", "eps", "initial_accumulator_value"})),
    "adam": (RowAdam, frozenset({"lr", "betas", "eps"})),
    "adamw": (RowAdam, frozenset({"lr", "betas", "eps"})),
    "sgd": (RowSGD, frozenset({"lr"})),
}
# Those of which torch has a kernel that does a whole step of a weight at once.
FUSED = frozenset({"adagrad", "adam", "adamw", "sgd"})


class Lazy(Optimizer):
    """A dense optimizer for a model's layers and one by row for its tables, as one.

    Its `param_groups` are those of both, so that a schedule of learning rates reaches both.
    """

    def __init__(self, layers: Optimizer, tables: Optimizer) -> None:
        self.layers, self.tables = layers, tables
        super().__init__([*layers.param_groups, *tables.param_groups], {})
        # The very same groups: a change of `lr` here is a change there.
        self.param_groups = [*layers.param_groups, *tables.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.layers.step()
        self.tables.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"layers": self.layers.state_dict(), "tables": self.tables.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.layers.load_state_dict(state_dict["layers"])
        self.tables.load_state_dict(state_dict["tables"])
        self.param_groups = [*self.layers.param_groups, *self.tables.param_groups]


def build_optimizer(
    model: nn.Module, name: str, options: Mapping[str, Any], tables: str = "lazy"
) -> Optimizer:
    """The optimizer of a recipe, for the weights of a model that are trained.

    name, options: as in `train { optimizer = adam(lr = 0.001) }`; options go by torch's names.
    tables: "lazy" gives the tables' gradients by row from now on; "dense" as torch has it.
    Raises ValueError if there is no such optimizer or it has no such option, or if it cannot go by row.
    """
    if name not in DENSE:
        raise ValueError(f"there is no optimizer {name!r}; there are {', '.join(sorted(DENSE))}")
    rows = {
        id(t.weight): t.weight for t in model.modules() if isinstance(t, Table) and t.weight.requires_grad
    }
    if tables == "dense" or not rows:
        for weight in rows.values():
            weight.sparse_gradient = False  # type: ignore[attr-defined]
        return _made(DENSE[name], _trained(model), options, name)
    if tables != "lazy":
        raise ValueError(f'tables are "lazy" or "dense", not {tables!r}')
    if name not in BY_ROW or options.get("momentum"):
        why = f"{name} with momentum" if name in BY_ROW else name
        raise ValueError(f'{why} cannot go by row: it moves rows that a batch does not name; use "dense"')
    for weight in rows.values():
        weight.sparse_gradient = True  # type: ignore[attr-defined]
    # The default, said aloud: torch warns wherever a sparse gradient leaves it unsaid.
    torch.sparse.check_sparse_tensor_invariants.disable()
    kind, known = BY_ROW[name]
    by_row = _made(kind, rows.values(), {k: v for k, v in options.items() if k in known}, name)
    others = [p for p in _trained(model) if id(p) not in rows]
    if not others:
        return by_row
    return Lazy(_made(DENSE[name], others, options, name), by_row)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _made(
    kind: type[Optimizer], weights: Iterable[Tensor], options: Mapping[str, Any], name: str
) -> Optimizer:
    weights = list(weights)
    fused = name in FUSED and kind is DENSE[name] and all(w.is_floating_point() for w in weights)
    extra: dict[str, Any] = {"fused": True} if fused else {}
    try:
        return kind(weights, **options, **extra)
    except TypeError:
        raise ValueError(f"{name} does not take all of the options {', '.join(sorted(options))}") from None


def clip_gradients(weights: Iterable[Tensor], largest: float) -> Tensor:
    """Scale all gradients, by row ones too, so that their joint norm is at most `largest`.

    Returns the norm that they had, a scalar.
    """
    found = [w.grad for w in weights if w.grad is not None]
    # The parts of a row add up before they count.
    values = [g.coalesce().values() if g.is_sparse else g for g in found]
    if not values:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in values]))
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    for grad in found:
        (grad._values() if grad.is_sparse else grad).mul_(scale)
    return norm
