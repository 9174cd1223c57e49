"""docs/api.md has every public name, and nothing else; every public name is typed and says what it is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
MODULES = [
    "specc",
    "specc.testing",
    "specc.inspect",
    "specc.notebook",
    "specc.prepare",
    "specc_runtime",
    "specc_runtime.data",
    "specc_runtime.encode",
    "specc_runtime.train",
    "specc_runtime.train.loggers",
    "specc_runtime.score",
    "specc_runtime.retrieval",
]
EACH = pytest.mark.parametrize("module", MODULES)


def documented() -> dict[str, list[str]]:
    """By module, the names in the first column of the table under its heading."""
    found: dict[str, list[str]] = {}
    for title, text in re.findall(r"^##+ `([\w.]+)`\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.M | re.S):
        cells = re.findall(r"^\| (`.*?) \|", text, re.M)
        found[title] = [re.match(r"\w+", name)[0] for cell in cells for name in cell.split("`")[1::2]]  # type: ignore[index]
    return found


def functions(module: str) -> Iterator[tuple[str, Any]]:
    """The functions and public methods that a module's public names are or have."""
    for name in import_module(module).__all__:
        value = getattr(import_module(module), name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for attribute, method in vars(value).items():
                method = method.fget if isinstance(method, property) else method
                method = getattr(method, "__func__", method)
                if inspect.isfunction(method) and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", method


def test_every_module_is_documented() -> None:
    assert list(documented()) == MODULES


@EACH
def test_the_page_has_every_public_name(module: str) -> None:
    public, named = set(import_module(module).__all__), documented()[module]
    assert len(named) == len(set(named))
    assert set(named) == public, set(named) ^ public


@EACH
def test_every_public_name_says_what_it_is(module: str) -> None:
    values = {name: getattr(import_module(module), name) for name in import_module(module).__all__}
    classes = {n: v for n, v in values.items() if inspect.isclass(v) and v.__module__.startswith("specc")}
    bare = [
        name for name, value in (*functions(module), *classes.items()) if not (value.__doc__ or "").strip()
    ]
    assert not bare


@EACH
def test_every_public_name_is_typed(module: str) -> None:
    untyped = [
        f"{name}({parameter.name})"
        for name, function in functions(module)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.annotation is inspect.Parameter.empty and parameter.name not in ("self", "cls")
    ]
    untyped += [name for name, f in functions(module) if "return" not in f.__annotations__]
    assert not untyped
