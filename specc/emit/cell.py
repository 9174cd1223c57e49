"""Print cells: a recurrence's step and its derivative, as functions of the module, and all steps in C."""

from __future__ import annotations

import hashlib

from specc.emit.c import function_text
from specc.emit.code import Line
from specc.emit.rows import function_lines
from specc.emit.steps import PRODUCT, rooms, steps_text
from specc.lower.cell import Cell
from specc.lower.native import Native, Run

KERNELS = "KERNELS"  # the constant that says which C the model's functions are in
_STEP = ("values", "constants", "matrices", "biases", "states", "nexts")
_BACK = ("values", "constants", "matrices", "states", "kept", "d_next", "d_values", "d_products")


def cell_lines(names: tuple[str, ...], cell: Cell) -> list[Line]:
    """Return the lines of a cell. names: of the step, of its derivative and of the cell."""
    forward, backward, name = names
    called = cell.node.name or forward.removesuffix("_step")
    about = [f"sloped={cell.sloped!r}"] if not all(cell.sloped) else []
    about += [f"places={cell.places!r}"] if any(cell.places) else []
    about += [f"biased={cell.biased!r}"] if cell.biased else []
    about += [f"at_once={cell.at_once}"]
    lines = _function(
        forward, _STEP, f"One step of `{called}`: fill `nexts`; return what is saved for backward.",
        function_lines(cell.step, {}), cell,
    )  # fmt: skip
    lines += _function(
        backward, _BACK, f"The derivative of `{forward}`.", function_lines(cell.back, {}), cell
    )
    native = cell.native
    if isinstance(native, Native):
        sizes = ", ".join(map(repr, rooms(native)))
        parts = f'"{called_in_c(forward)}", {sizes}, {native.choice.least}'
        about.append(f"in_c=ops.StepsInC({KERNELS}, {parts})")
    else:
        lines += [Line(f"# No kernels in C: {native}.")]
    return [*lines, Line(f"{name} = ops.Cell({', '.join([forward, backward, *about])})"), Line(""), Line("")]


def _function(name: str, parameters: tuple[str, ...], about: str, body: list[str], cell: Cell) -> list[Line]:
    return [
        Line(f"def {name}({', '.join(parameters)}):", cell.node.span),
        Line(f'    """{about}"""'),
        *(Line(f"    {text}") for text in body),
        Line(""),
        Line(""),
    ]


def called_in_c(forward: str) -> str:
    """Return what the names of a cell's C functions begin with."""
    return forward.removesuffix("_step")


def run_names(forward: str, native: Native) -> dict[Run, str]:
    """Return the names of the C functions of a cell's runs."""
    return {run: f"{forward}_{number}" for number, run in enumerate(native.runs)}


def kernels_text(cells: list[tuple[tuple[str, ...], Cell]]) -> str:
    """Return the C of all cells; empty if none has any."""
    texts = []
    for (forward, *_), cell in cells:
        if isinstance(cell.native, Native):
            runs = run_names(forward, cell.native)
            texts += [function_text(name, run) for run, name in runs.items()]
            texts.append(steps_text(called_in_c(forward), cell, runs))
    return "\n".join([PRODUCT, *texts]) if texts else ""


def key_of(text: str) -> str:
    """Return the hash by which the runtime finds a C text."""
    return hashlib.sha256(text.encode()).hexdigest()
