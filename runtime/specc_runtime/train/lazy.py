"""The optimizer of a recipe: torch's own for the layers, one by row for the tables.

A dense gradient has every row of a table, so that a dense optimizer reads and writes every row's weight
and state at every step, and a step takes time in proportion to the tables. Here a table's gradient holds
the rows that the batch names, and the optimizer visits those.

Promises: "exact" tables equal those of the dense optimizer, up to rounding: the steps that other rows
skipped are carried out when they are read, or when the table is read as a whole (`model.eval()`, any
state_dict, a copy). "lazy" tables never carry them out: for SGD and Adagrad that is the same, but with
Adam a row's moments decay, and the row moves, only in the steps that name it; and tables have no weight
decay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from specc_runtime import stale
from specc_runtime.layers import Table
from specc_runtime.ops import gradients
from specc_runtime.ops.handed import held_for
from specc_runtime.train.one_call import OneCall
from specc_runtime.train.rowwise import ByRow
from specc_runtime.train.rules import RowAdadelta, RowAdagrad, RowAdam, RowAdamW, RowRMSprop, RowSGD
from specc_runtime.train.skipped import without_closed_form

DENSE: Mapping[str, type[Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
BY_ROW: Mapping[str, type[ByRow]] = {
    "adadelta": RowAdadelta,
    "adagrad": RowAdagrad,
    "adam": RowAdam,
    "adamw": RowAdamW,
    "rmsprop": RowRMSprop,
    "sgd": RowSGD,
}
# By rule that can be lazy: its optimizer by row, and the options that it shares with the dense one.
LAZY: Mapping[str, tuple[type[ByRow], frozenset[str]]] = {
    "adagrad": (RowAdagrad, frozenset({"lr", "lr_decay", "eps", "initial_accumulator_value"})),
    "adam": (RowAdam, frozenset({"lr", "betas", "eps"})),
    "adamw": (RowAdam, frozenset({"lr", "betas", "eps"})),
    "sgd": (RowSGD, frozenset({"lr"})),
}
# Rules with a fused kernel in torch.
FUSED = frozenset({"adagrad", "adam", "adamw", "sgd"})


class Lazy(Optimizer):
    """A dense optimizer for a model's layers and one by row for its tables, as one.

    Its `param_groups` are those of both, so that a schedule of learning rates reaches both.
    """

    def __init__(self, layers: Optimizer, tables: ByRow) -> None:
        self.layers, self.tables, self._of_layers = layers, tables, OneCall(layers)
        super().__init__([*layers.param_groups, *tables.param_groups], {})
        # Learning rate schedules read these.
        self.defaults = layers.defaults
        # The same objects: a schedule that changes `lr` here changes it there.
        self.param_groups = [*layers.param_groups, *tables.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._of_layers.step()
        self.tables.advance()
        return loss

    def take_gradients(self) -> None:
        self.tables.take_gradients()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.tables.drop()
        super().zero_grad(set_to_none)

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers, "tables": self.tables}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def catch_up(self) -> None:
        """Bring every row of every table up to date."""
        self.tables.catch_up()

    def state_dict(self) -> dict[str, Any]:
        return {"layers": self.layers.state_dict(), "tables": self.tables.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError for the state of another algorithm."""
        if "tables" not in state_dict:
            raise ValueError("the optimizer's state is of tables that are trained as a whole, not by row")
        self.tables.load_state_dict(state_dict["tables"])
        self.layers.load_state_dict(state_dict["layers"])
        self.param_groups = [*self.layers.param_groups, *self.tables.param_groups]


def build_optimizer(
    model: nn.Module, name: str, options: Mapping[str, Any], tables: str = "exact"
) -> Optimizer:
    """The optimizer of a recipe, for the weights of a model that are trained.

    name, options: as in `train { optimizer = adam(lr = 0.001) }`; options go by torch's names.
    tables: "exact" and "lazy" give the tables' gradients by row from now on; "dense" as torch has it. Where
        "exact" has no closed form tables are trained as a whole too, with a warning that says why.
    Raises ValueError if there is no such optimizer or it has no such option, or if it cannot be lazy.
    """
    if name not in DENSE:
        raise ValueError(f"there is no optimizer {name!r}; there are {', '.join(sorted(DENSE))}")
    if tables not in ("exact", "lazy", "dense"):
        raise ValueError(f'tables are "exact", "lazy" or "dense", not {tables!r}')
    if tables == "exact" and (why := without_closed_form(name, options)) is not None:
        warnings.warn(f"{why}: tables are trained as a whole", stacklevel=2)
        tables = "dense"
    found = _tables(model)
    if tables == "dense" or not found:
        for weight in found:
            stale.own(weight, None)
        return _made(DENSE[name], _trained(model), options, name)
    if tables == "lazy" and (name not in LAZY or options.get("momentum")):
        why = f"{name} with momentum" if name in LAZY else name
        raise ValueError(
            f'{why} cannot go by row: it moves rows that a batch does not name; use "dense" or "exact"'
        )
    # The default, passed explicitly: torch warns where a sparse gradient leaves it out.
    torch.sparse.check_sparse_tensor_invariants.disable()
    if tables == "exact":
        by_row = _made(BY_ROW[name], found, options, name)
    else:
        kind, known = LAZY[name]
        by_row = _made(
            kind, found, {**{k: v for k, v in options.items() if k in known}, "rows": "lazy"}, name
        )
    assert isinstance(by_row, ByRow)
    rows = {id(w) for w in found}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in rows]
    if not others:
        return by_row
    return Lazy(_made(DENSE[name], others, options, name), by_row)


def take_gradients(optimizer: Optimizer) -> None:
    """Have tables by row hand their gradients to the optimizer from now on, those of all tables of a lookup
    at once: `weight.grad` stays None (see ops.handed). For loops that look at gradients with `clip_gradients`
    and `largest_gradient` alone."""
    if isinstance(optimizer, (Lazy, ByRow)):
        optimizer.take_gradients()


def _tables(model: nn.Module) -> list[Tensor]:
    """Return the tables that are trained and read by lookups alone."""
    held = [(module, weight) for module in model.modules() for weight in module._parameters.values()]
    elsewhere = {id(weight) for module, weight in held if not isinstance(module, Table)}
    found = {
        id(weight): weight
        for module, weight in held
        if isinstance(module, Table) and weight is not None and weight.requires_grad
    }
    return [weight for key, weight in found.items() if key not in elsewhere]


def _trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that are trained; where there are none an empty one, as optimizers ask for some."""
    return [p for p in model.parameters() if p.requires_grad] or [nn.Parameter(torch.empty(0))]


def _made(
    kind: type[Optimizer], weights: Iterable[Tensor], options: Mapping[str, Any], name: str
) -> Optimizer:
    weights = list(weights)
    fused = name in FUSED and kind is DENSE[name] and all(_has_kernels(w) for w in weights)
    extra: dict[str, Any] = {"fused": True} if fused else {}
    try:
        return kind(weights, **options, **extra)
    except TypeError:
        raise ValueError(f"{name} does not take all of the options {', '.join(sorted(options))}") from None


def _has_kernels(weight: Tensor) -> bool:
    """Return whether torch's fused optimizers support a weight: on `meta`, without values, they do not."""
    return weight.is_floating_point() and weight.device.type != "meta"


def _summed(grad: Tensor) -> Tensor:
    """Return a sparse gradient's values, summed by row; on an accelerator padded with rows of 0."""
    if grad.device.type == "cpu":
        return grad.coalesce().values()
    return gradients.summed_in_as_many(grad._indices()[0], grad._values())[1]


def clip_gradients(weights: Iterable[Tensor], largest: float) -> Tensor:
    """Scale all gradients, sparse ones too, so that their joint norm is at most `largest`.

    Returns the norm before, a scalar.
    """
    weights = list(weights)
    held = held_for(weights)
    found = [w.grad for w in weights if w.grad is not None]
    # Values of duplicate rows are summed before the norm is taken.
    values = [*(_summed(g) if g.is_sparse else g for g in found), *held]
    if not values:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in values]))
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    for grad in found:
        (grad._values() if grad.is_sparse else grad).mul_(scale)
    for sums in held:
        sums.mul_(scale)
    return norm
