"""Variants as files: each a spec that extends the base, or the base's own text with other defaults.

Promises: a written file means what `--set` would; it is parsed again before anything is written. What a
file needs beside it (the base, libraries) is copied there once, unless it is shipped or there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from specc import resources
from specc.driver import load_program
from specc.names.program import Module
from specc.report import Report
from specc.source import Source
from specc.types.static import describe
from specc.variants.space import Variant, VariantSpace

Form = Literal["extends", "text"]


class WriteError(Exception):
    """Why a variant cannot be written; the text is for the user."""


def write(space: VariantSpace, variants: Iterable[Variant], directory: Path, form: Form) -> list[Path]:
    """Write variants to DIR/NAME_1.arec, NAME_2.arec … Raises WriteError, OSError."""
    main = space.program.main
    copy_neighbours(main, directory, form)
    written = []
    for number, variant in enumerate(variants, 1):
        name = f"{main.name}_{number}"
        path = directory / f"{name}.arec"
        text = _extending(space, variant, name) if form == "extends" else _text(space, variant, name)
        report = Report()
        load_program(Source(str(path), text), directory, report)
        if report.has_errors:
            reason = next(iter(report)).message
            raise WriteError(f"{path} would not be read again: {reason}")
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def copy_neighbours(main: Module, directory: Path, form: Form) -> None:
    """Copy what a file in that directory needs beside it. Raises WriteError, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in _neighbours(main, form):
        copy = directory / path.name
        if copy.resolve() != path.resolve():
            text = path.read_text(encoding="utf-8")
            if copy.exists() and copy.read_text(encoding="utf-8") != text:
                raise WriteError(f"{copy} is there already, and it is not {path}")
            copy.write_text(text, encoding="utf-8")


def _extending(space: VariantSpace, variant: Variant, name: str) -> str:
    main = space.program.main
    base = Path(main.ident.span.source.name).stem
    said = ", ".join(f"{n} = {v}" for n, v in variant.settings(changes_only=True).items())
    lines = [f"# {main.name} with {said or 'its defaults'}", f"model {name}", "", f"extends {base} {{"]
    for param, value in variant.settings(changes_only=True).items():
        domain = space.param(param).domain
        lines.append(f"  param {param} = {value}" + (f" in {domain.span.text}" if domain else ""))
    return "\n".join([*lines, "}"]) + "\n"


def _text(space: VariantSpace, variant: Variant, name: str) -> str:
    """Return the spec as it stands, each changed default replaced where it is written."""
    main = space.program.main
    source = main.ident.span.source
    replaced = [(main.ident.span, name)]
    for param in variant.changed:
        span = space.param(param).default.span
        if span.source is not source:
            raise WriteError(f"`{param}` is declared in {span.source.name}: write them as extends")
        replaced.append((span, describe(variant.values[param])))
    text = source.text
    for span, new in sorted(replaced, key=lambda pair: pair[0].start, reverse=True):
        text = text[: span.start] + new + text[span.stop :]
    return text


def _neighbours(main: Module, form: Form) -> list[Path]:
    """Return the files that a written variant reads, without the shipped ones."""
    sources: dict[str, None] = {}
    if form == "extends":
        sources[main.ident.span.source.name] = None

    def enter(module: Module) -> None:
        for item in module.named.values():
            sources.setdefault(item.ident.span.source.name)
        for used in (*module.uses.values(), *(library for library, _ in module.members.values())):
            sources.setdefault(used.ident.span.source.name)
            enter(used)

    enter(main)
    if form == "text":
        sources.pop(main.ident.span.source.name, None)
    for folder_file in _extended(main):
        sources.setdefault(folder_file)
    shipped = resources.specs().resolve()
    return [p for p in map(Path, sources) if p.is_file() and shipped not in p.resolve().parents]


def _extended(main: Module) -> list[str]:
    """Return bases of the spec, found by their names: a base of which every statement was restated is needed
    too."""
    source = main.ident.span.source
    folder = Path(source.name).parent
    found = re.findall(r"^\s*extends\s+([A-Za-z_][A-Za-z0-9_]*)", source.text, re.MULTILINE)
    return [str(folder / f"{name}.arec") for name in found]
