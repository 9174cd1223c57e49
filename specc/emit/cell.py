"""Print cells: a recurrence's step and its derivative, as functions of the module and of C."""

from __future__ import annotations

import hashlib

from specc.emit.c import function_text
from specc.emit.code import Line
from specc.emit.rows import function_lines
from specc.lower.cell import Cell
from specc.lower.native import Run

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
    if not isinstance(native, str):
        runs = {run: f"c.{text}" for run, text in run_names(forward, cell).items()}
        for function, plain, parameters in (
            (native.step, forward, _STEP),
            (native.back, backward, _BACK),
        ):
            about_it = f"`{plain}` with all but its matrix products in C."
            body = function_lines(function, runs, "c")
            lines += _function(f"{plain}_in_c", ("c", *parameters), about_it, body, cell)
        parts = f"{KERNELS}, {forward}_in_c, {backward}_in_c, {native.choice.least}"
        about.append(f"in_c=ops.InC({parts})")
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


def run_names(forward: str, cell: Cell) -> dict[Run, str]:
    """Return the names of a cell's C functions."""
    native = cell.native
    runs = [] if isinstance(native, str) else native.runs
    return {run: f"{forward}_{number}" for number, run in enumerate(runs)}


def kernels_text(cells: list[tuple[tuple[str, ...], Cell]]) -> str:
    """Return the C of all cells; empty if none has any."""
    texts = [
        function_text(name, run)
        for (forward, *_), cell in cells
        for run, name in run_names(forward, cell).items()
    ]
    return "\n".join(texts)


def key_of(text: str) -> str:
    """Return the hash by which the runtime finds a C text."""
    return hashlib.sha256(text.encode()).hexdigest()
