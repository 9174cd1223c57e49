"""From files to a program: `use`, `extends`, the standard library, one namespace a file.

Promises: reads only `.arec` files beside the spec and the shipped ones; reports (E02xx) names declared
twice, libraries that are not there, and cycles as a path (a -> b -> a).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from specc import resources
from specc.names.program import KIND_WORDS, Module, Named, Program, taken
from specc.report import Label, Report
from specc.report.suggest import nearest
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.beside import notice_comments
from specc.syntax.parse import parse

# A declaration of the standard library, with the comment above it.
_DECLARED = re.compile(r"^(?:#[^\n]*\n)*(?:block|encoder|attention)\s+([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)


# Trees of files without faults, by name and text: a run over many specs reads the standard library once.
_known: dict[tuple[str, str], tree.File] = {}


def _parsed(source: Source, report: Report) -> tree.File:
    key = (source.name, source.text)
    file = _known.get(key)
    if file is None:
        own = Report()
        file = parse(source, own)
        if len(own):
            return parse(source, report)
        _known[key] = file
    notice_comments(file, report)
    return file


@cache
def _std() -> dict[str, tuple[Source, int, int, int]]:
    """Return by its name the text of the shipped library that declares a block, found without parsing any:
    where its first declaration begins, and where the block's begins and ends."""
    found: dict[str, tuple[Source, int, int, int]] = {}
    for path in sorted((resources.specs() / "std").glob("*.arec")):
        source = Source(str(path), path.read_text(encoding="utf-8"))
        declared = list(_DECLARED.finditer(source.text))
        ends = [*(match.start() for match in declared[1:]), len(source.text)]
        for match, end in zip(declared, ends, strict=True):
            found[match[1]] = source, declared[0].start(), match.start(), end
    return found


@cache
def _alone(name: str) -> Source:
    """The library of a block with blanks in place of the other blocks: each is read when a model needs it."""
    source, first, begin, end = _std()[name]
    others = "\n".join(" " * len(line) for line in source.text[first:begin].split("\n"))
    return Source(source.name, source.text[:first] + others + source.text[begin:end])


class _Loader:
    """Reads files once and keeps the chain of files being read, to see cycles."""

    def __init__(self, report: Report, directory: Path | None) -> None:
        self.report = report
        self.directory = directory
        self.modules: dict[str, Module] = {}
        self.files: dict[str, tree.File] = {}
        self.chain: list[str] = []
        self.dropped: dict[str, Span] = {}
        self._std_modules: dict[str, Module] = {}

    # -------------------------------------------------------------- files

    def find(self, name: str) -> Source | None:
        """Return a library or base by name: beside the spec first, then the shipped ones."""
        places = [self.directory] if self.directory else []
        specs = resources.specs()
        for folder in [*places, specs, specs / "std"]:
            path = folder / f"{name}.arec"
            if path.is_file():
                try:
                    return Source(str(path), path.read_text(encoding="utf-8"))
                except (OSError, UnicodeDecodeError):
                    return None
        return None

    def available(self) -> list[str]:
        specs = resources.specs()
        folders = [*([self.directory] if self.directory else []), specs, specs / "std"]
        return sorted({p.stem for folder in folders for p in folder.glob("*.arec")})

    def file(self, name: str, span: Span, wanted: str) -> tree.File | None:
        """Return the parsed file of a library or base, or None after reporting why not."""
        if name in self.chain:
            path = " -> ".join([*self.chain[self.chain.index(name) :], name])
            self.report.error(
                "E0205",
                f"`{name}` is read while it is itself being read",
                span,
                label="this closes the circle",
                why=f"the files need each other: {path}",
                help="move what they share into a library that both use",
            )
            return None
        if name not in self.files:
            source = self.find(name)
            if source is None:
                close = nearest(name, self.available())
                self.report.lose([close] if close else [])
                self.report.error(
                    "E0204",
                    f"there is no {wanted} `{name}`",
                    span,
                    label="not found",
                    why="a name is looked for beside this file (NAME.arec), then among the shipped specs",
                    help=f"did you mean `{close}`?" if close else f"write {name}.arec beside this file",
                )
                return None
            self.files[name] = _parsed(source, self.report)
        return self.files[name]

    # ------------------------------------------------------------ modules

    def module(self, file: tree.File) -> Module:
        module = Module(file.ident.name, file.kind, file.ident, doc=file.doc, edition=file.edition or 1)
        self.chain.append(file.ident.name)
        for item in file.body:
            if isinstance(item, tree.Extends):
                self.extend(module, item)
        body = [item for item in file.body if not isinstance(item, tree.Extends)]
        self.declare(module, body, replaces=frozenset())
        self.chain.pop()
        if file.kind == "library":
            self.only_library_things(module)
        return module

    def only_library_things(self, module: Module) -> None:
        for name, item in module.named.items():
            if not isinstance(item, tree.Block | tree.Layer | tree.Param):
                self.report.error(
                    "E0206",
                    f"a library holds blocks, layers and params, not a {KIND_WORDS[type(item)]}",
                    item.ident.span,
                    label=f"`{name}` belongs in a model",
                    help="start the file with `model` instead of `library`, or move this to the model",
                )

    def extend(self, module: Module, extends: tree.Extends) -> None:
        file = self.file(extends.base.name, extends.base.span, "model to extend")
        if file is None:
            return
        if file.kind != "model":
            self.report.error(
                "E0208",
                f"`{extends.base.name}` is a library, and only a model can be extended",
                extends.base.span,
                help=f"bring it in with `use {extends.base.name}`",
            )
            return
        base = self.module(file)
        for target, origin in (
            (module.named, base.named),
            (module.uses, base.uses),
            (module.members, base.members),
        ):
            target.update(origin)  # type: ignore[arg-type]
        module.requires.extend(base.requires)
        module.places.extend(kept for p in base.places if (kept := _without(p, extends.body)))
        module.trains.extend(base.trains)
        for item in extends.body:
            if isinstance(item, tree.Drop):
                for ident in item.names:
                    self.dropped[ident.name] = ident.span
                    if module.named.pop(ident.name, None) is None and not self.report.lost(ident.name):
                        close = nearest(ident.name, module.named)
                        self.report.error(
                            "E0209",
                            f"`{extends.base.name}` declares no `{ident.name}` that could be dropped",
                            ident.span,
                            help=f"did you mean `{close}`?" if close else "",
                        )
        self.declare(module, list(extends.body), replaces=frozenset(base.named))

    def declare(self, module: Module, body: Sequence[tree.Declaration], replaces: frozenset[str]) -> None:
        seen: dict[str, Named] = {} if replaces else dict(module.named)
        train: tree.Train | None = None
        parts: list[tree.Declaration] = []
        for item in body:
            parts += taken(item) if isinstance(item, tree.Unpack) else [item]
        for item in parts:
            match item:
                case tree.Use():
                    self.use(module, item)
                case tree.Require():
                    module.requires.append(item)
                case tree.Place():
                    module.places.append(item)
                case tree.Train():
                    if train is not None:
                        one, other = (Span(s.source, s.start, s.start + 5) for s in (item.span, train.span))
                        self.twice(one, "`train`", other, "write all settings into one `train { … }`")
                        continue
                    train = item
                    module.trains.append(item)
                case tree.Drop() if not replaces:
                    self.report.error(
                        "E0209",
                        "`drop` stands outside of `extends`",
                        item.span,
                        why="it leaves out what a model has from the one that it extends",
                        help="write it inside: `extends BASE { drop NAME … }`",
                    )
                case tree.Extends() | tree.Drop():
                    pass
                case _:
                    assert not isinstance(item, tree.Unpack)
                    name = item.ident.name
                    if name in seen:
                        first = seen[name]
                        self.report.error(
                            "E0202",
                            f"`{name}` is declared twice",
                            item.ident.span,
                            label="declared again here",
                            secondary=(Label(first.ident.span, "first declared here"),),
                            why="a name stands for one thing; nothing is assigned a second time",
                            help="give one of them another name",
                        )
                        continue
                    seen[name] = item
                    module.named[name] = item
        for name in sorted(seen.keys() & module.use_spans.keys()):
            spans = sorted((seen[name].ident.span, module.use_spans[name]), key=lambda s: s.start)
            self.twice(spans[1], f"`{name}`", spans[0], "give one of them another name")

    def twice(self, again: Span, what: str, first: Span, help: str) -> None:
        """Report E0202: two declarations of one name or thing."""
        self.report.error(
            "E0202",
            f"{what} is declared twice",
            again,
            label="declared again here",
            secondary=(Label(first, "first declared here"),),
            help=help,
        )

    def use(self, module: Module, item: tree.Use) -> None:
        name = item.library.name
        ident = item.alias or item.member or item.library
        local = ident.name
        if local in module.use_spans:
            self.twice(
                ident.span, f"`{local}`", module.use_spans[local], "give one of them another name with `as`"
            )
            return
        if name not in self.modules:
            file = self.file(name, item.library.span, "library")
            if file is None:
                self.report.lose([local])
                return
            if file.kind != "library":
                self.report.lose([local])
                self.report.error(
                    "E0207",
                    f"`{name}` is a model, and only a library can be used",
                    item.library.span,
                    help=f"start from it with `extends {name} {{ … }}`, or move its blocks to a library",
                )
                return
            self.modules[name] = self.module(file)
        library = self.modules[name]
        module.use_spans[local] = ident.span
        if item.member is None:
            module.uses[local] = library
            return
        if item.member.name not in library.named:
            self.report.lose([local])
            close = nearest(item.member.name, library.named)
            self.report.error(
                "E0203",
                f"library `{name}` has no `{item.member.name}`",
                item.member.span,
                help=f"did you mean `{close}`?"
                if close
                else "it has " + ", ".join(f"`{n}`" for n in sorted(library.named)),
            )
            return
        module.members[local] = (library, item.member.name)

    # ------------------------------------------------------------ prelude

    def prelude(self, name: str) -> tuple[Module, tree.Block] | None:
        if name not in _std():
            return None
        if name not in self._std_modules:
            self._std_modules[name] = self.module(_parsed(_alone(name), self.report))
        block = self._std_modules[name].named.get(name)
        return (self._std_modules[name], block) if isinstance(block, tree.Block) else None


def _without(place: tree.Place, body: Sequence[tree.Declaration]) -> tree.Place | None:
    """Return a base's `place` without the names that the extending model drops, or places anew."""
    others = [item for item in body if isinstance(item, tree.Place)]
    if not place.names:
        return None if any(not other.names for other in others) else place
    taken = {ident.name for other in others for ident in other.names}
    declared = {item.ident.name for item in body if isinstance(item, Named)}
    declared |= {ident.name for item in body if isinstance(item, tree.Unpack) for ident in item.idents}
    dropped = {ident.name for item in body if isinstance(item, tree.Drop) for ident in item.names} - declared
    names = tuple(i for i in place.names if i.name not in taken and i.name.split(".")[0] not in dropped)
    return replace(place, names=names) if names else None


def resolve(file: tree.File, directory: Path | None, report: Report) -> Program:
    """Return the program of a file: everything it needs, by name. `directory` is where its neighbours are
    looked for."""
    loader = _Loader(report, directory)
    main = loader.module(file)
    dropped = {name: span for name, span in loader.dropped.items() if name not in main.named}
    return Program(main, loader.prelude, tuple(_std()), dropped, loader.available)
