"""The whole pipeline on one page: a file becomes a tree, a program, a typed graph.

Promises: no fault of a user's ends in an exception; each stage reports what it can, and the next one
runs only on what is sound. Leaves passes and emission to `compile`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from specc import resources
from specc.collector import uncollected
from specc.elaborate.model import elaborate
from specc.elaborate.world import Seen
from specc.frozen import dataclass
from specc.ir.graph import Graph
from specc.names.program import Program
from specc.names.resolve import resolve
from specc.report import Report
from specc.report.suggest import nearest
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.parse import parse

if TYPE_CHECKING:  # torch is loaded only where values flow
    from specc.devices import Placement
    from specc.passes import Selection
    from specc_runtime import Model

# Expressions nest and bindings chain; both are walked by recursion, up to this many frames.
_DEPTH = 20_000
T = TypeVar("T")


class SpecError(ValueError):
    """A spec with faults. `report` holds them; the message shows them all."""

    def __init__(self, report: Report) -> None:
        from specc.report.render import render

        super().__init__("the spec has faults\n" + render(report, "terminal"))
        self.report = report

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback: the faults."""
        from specc.report.render import render

        return render(self.report, "terminal", colour=True).splitlines()


def located(path: Path | str) -> Path:
    """The file of a spec: a path, or the bare name of a shipped one (`dsin`) where there is no such file."""
    path = Path(path)
    shipped = resources.specs() / f"{path}.arec"
    bare = path.name == str(path) and not path.suffix and not os.path.exists(path)
    return shipped if bare and os.path.isfile(shipped) else path


def read(path: Path | str, report: Report) -> Source | None:
    """The text of a spec file, or of a shipped spec by its name; what cannot be read is reported (E0001)."""
    path = located(path)
    name = str(path)
    try:
        return decode(name, Path(path).read_bytes(), report)
    except FileNotFoundError:
        why, advice = "there is no such file", _beside(Path(path))
    except IsADirectoryError:
        why, advice = "this is a folder", "name the .arec file in it"
    except (OSError, ValueError) as fault:
        why, advice = str(getattr(fault, "strerror", None) or fault), "check the file and its permissions"
    report.error("E0001", f"cannot read {name}: {why}", Span(Source(name, ""), 0, 0), help=advice)
    return None


def decode(name: str, data: bytes, report: Report) -> Source | None:
    """The text of a file's bytes; what is not UTF-8 is reported (E0001)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        report.error(
            "E0001",
            f"cannot read {name}: it is not UTF-8",
            Span(Source(name, ""), 0, 0),
            why=f"byte 0x{data[fault.start]:02x} in line {line} means nothing there",
            help="save it as UTF-8; in another encoding, or as a binary file, it is no spec",
        )
        return None
    return Source(name, normal(text))


def normal(text: str) -> str:
    """A text as the lexer reads it: lines end with a newline only."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _beside(path: Path) -> str:
    """What the reader may have meant by a path that is not there."""
    try:
        names = [other.name for other in path.parent.glob("*.arec")]
    except OSError:
        names = []
    close = nearest(path.name, names)
    return f"did you mean {path.parent / close}?" if close else "check the path"


def given(spec: Path | str, report: Report) -> tuple[Source | None, Path]:
    """The text of a spec, None after reporting why it cannot be read, and the folder of its libraries.

    spec: as in `compile`.
    """
    if isinstance(spec, str) and "\n" in spec:
        return Source("<text>", normal(spec)), Path()
    return read(spec, report), located(spec).parent


def check(spec: Path | str, **params: Any) -> Report:
    """Return everything there is to say about a spec: its faults and its warnings.

    spec: a file, the name of a shipped spec, or the text of a spec, as in `compile`.
    params: overrides of the spec's params.
    """
    report = Report()
    source, directory = given(spec, report)
    if source is not None:
        check_source(source, directory, params, report)
    return report


@dataclass(frozen=True)
class Read:
    """A text as it was read: its tree; its names, unless it is nested too deeply; its graph, if sound."""

    file: tree.File
    program: Program | None
    graph: Graph | None


def check_source(
    source: Source,
    directory: Path | None,
    params: Mapping[str, Any] | None,
    report: Report,
    seen: Seen | None = None,
) -> Read:
    """Report everything there is to say about a text, its places and every choice of its params included.

    seen: who is told the node of every expression of the variant with these params.
    """
    with uncollected():
        return _check_source(source, directory, params, report, seen)


def _check_source(
    source: Source,
    directory: Path | None,
    params: Mapping[str, Any] | None,
    report: Report,
    seen: Seen | None,
) -> Read:
    from specc.remedy import settle

    read = _said(source, directory, params, report, seen)
    program = read.program
    plain = list(report)
    if program is not None and program.main.kind == "model":
        report.variants = _choices(program, params, report)

    def checked(text: Source) -> tuple[Graph | None, Report]:
        own = Report()
        return _said(text, directory, params, own).graph, own

    def checked_whole(text: Source) -> tuple[Graph | None, Report]:
        own = Report()
        found = _said(text, directory, params, own)
        if found.program is not None:
            _choices(found.program, params, own)
        return found.graph, own

    settle(report, plain, source, checked, checked_whole)
    if len(report) > len(plain):
        known = {(d.code, d.span) for d in plain}
        settle(report, [d for d in report if (d.code, d.span) not in known], source, checked_whole)
    return read


def _said(
    source: Source,
    directory: Path | None,
    params: Mapping[str, Any] | None,
    report: Report,
    seen: Seen | None = None,
) -> Read:
    """Report what there is to say of the variant with some params."""
    file = parse(source, report)
    program = _resolved(file, directory, report)
    graph = None if program is None else load_graph(program, params, report, seen)
    if graph is not None:
        if graph.places:
            from specc.passes.placement import check_places

            check_places(graph, report)
        report.judge_allowances(source.name)
    return Read(file, program, graph)


def _choices(program: Program, params: Mapping[str, Any] | None, report: Report) -> int:
    from specc.elaborate.choices import check_choices

    try:
        return _roomy(lambda: check_choices(program, params or {}, report))
    except RecursionError:  # reported of the variant with the defaults
        return 1


def load(path: Path | str, params: Mapping[str, Any] | None = None) -> tuple[Graph | None, Report]:
    """The typed graph of a spec file, and everything there is to say about it.

    params: overrides of the spec's params, as `--set` gives them.
    """
    report = Report()
    source = read(path, report)
    if source is None:
        return None, report
    directory = located(path).parent
    graph = load_source(source, directory, params, report)
    if graph is None and not report.has_errors:
        _no_model(source, report)
    elif graph is None:
        report = Report()
        check_source(source, directory, params, report)  # the fixes that are shown are those that were tried
    return graph, report


def _no_model(source: Source, report: Report) -> None:
    """E0513: a library where a model is needed."""
    report.error(
        "E0513",
        f"{source.name} is a library, and predicts nothing",
        Span(source, 0, 0),
        why="its blocks become part of the models that `use` it",
        help="name a model; a library is checked with `specc check`",
    )


def load_source(
    source: Source, directory: Path | None, params: Mapping[str, Any] | None, report: Report
) -> Graph | None:
    """The typed graph of a text; libraries and bases are looked for in `directory`."""
    program = load_program(source, directory, report)
    return None if program is None else load_graph(program, params, report)


def load_graph(
    program: Program, params: Mapping[str, Any] | None, report: Report, seen: Seen | None = None
) -> Graph | None:
    """The typed graph of a program with some params overridden."""
    return _deep(lambda: elaborate(program, params or {}, report, seen), program.main.ident.span, report)


def load_program(source: Source, directory: Path | None, report: Report) -> Program | None:
    """Every name of a text and of the files it uses, or None if the text has faults already."""
    return _resolved(parse(source, report), directory, report)


def _resolved(file: tree.File, directory: Path | None, report: Report) -> Program | None:
    return _deep(lambda: resolve(file, directory, report), file.ident.span, report)


@dataclass(frozen=True)
class Compiled:
    """A spec as a model: the graph as it was written, the graph after all passes, and the texts of an
    artefact by file name."""

    written: Graph
    graph: Graph
    texts: Mapping[str, str]


def compile(
    spec: Path | str,
    passes: Selection = "default",
    placement: Placement | None = None,
    **params: Any,
) -> Model:
    """Return the PyTorch module of a spec, untrained, on the CPU or where the spec's places put it.

    spec: a file, the name of a shipped spec ("dsin"), or the text of a spec: a str of several lines, whose
    libraries and base are looked for in the current folder. passes: "default", "none", or names.
    placement: overrides of devices and places. params: overrides of the spec's params.
    Raises SpecError with every fault, PassError, or DeviceError where this machine lacks a device.
    """
    report = Report()
    with uncollected():
        from specc_runtime import Model, from_texts

        Model.shows = shown
        found = compiled(spec, passes, placement, params, report)
        if found is None:
            raise SpecError(report)
        model = from_texts(found.texts, found.graph.name).place()
    files = [w.path for w in found.graph.weights.values() if w.pretrained is not None]
    if files:
        warnings.warn(
            f"{', '.join(files)} start from files, which are read by `specc train` or "
            "specc_runtime.encode.load_pretrained: until then they are random",
            stacklevel=2,
        )
    return model


def shown(model: Model) -> dict[str, str]:
    """Return a model as notebooks show it: a summary as text, and with its picture as HTML."""
    found: dict[str, str] = import_module("specc.notebook.models").bundle(model)
    return found


def compiled(
    spec: Path | str,
    passes: Selection,
    placement: Placement | None,
    params: Mapping[str, Any],
    report: Report,
) -> Compiled | None:
    """A compiled spec; None after reporting why there is none. Raises PassError. Never imports torch."""
    from specc.devices import Placement, with_placement
    from specc.emit import emit
    from specc.names.standalone import libraries
    from specc.passes import optimise
    from specc.texts import Texts

    source, directory = given(spec, report)
    if source is None:
        return None
    program = load_program(source, directory, report)
    graph = None if program is None else load_graph(program, params, report)
    if graph is None and not report.has_errors:
        _no_model(source, report)
    if graph is not None and (placement is not None or graph.places):
        graph = with_placement(graph, placement or Placement(), report)
    if program is None or graph is None or report.has_errors:
        return None

    def texts() -> Compiled:
        optimised = optimise(graph, passes)
        spec = partial(_roomy, lambda: _standalone(program, graph.params))
        return Compiled(graph, optimised, Texts({**emit(optimised), "spec.arec": spec, **libraries(program)}))

    return _roomy(texts)


def _standalone(program: Program, params: Mapping[str, Any]) -> str:
    from specc.names.standalone import standalone
    from specc.syntax.print import print_file

    return print_file(standalone(program, params))


def _roomy(stage: Callable[[], T]) -> T:
    """Run a stage with room for deep recursion."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        return stage()
    finally:
        sys.setrecursionlimit(limit)


def _deep(stage: Callable[[], T | None], span: Span, report: Report) -> T | None:
    """Run a stage with room for deep recursion; deeper still is the spec's fault (E0002)."""
    try:
        return _roomy(stage)
    except RecursionError:
        report.error(
            "E0002",
            "the spec is nested too deeply",
            span,
            why="an expression, or a chain of bindings each of which needs the next, goes too deep",
            help="declare bindings in the order in which they need each other, and split expressions",
        )
        return None
