"""arec: a declarative language for recommendation models, and its compiler.

    model = specc.compile("specs/dsin.arec", dim=8)  # an nn.Module
    report = specc.check("specs/dsin.arec")
    model = specc.load("build/dsin")  # somebody's trained model, of whose code nothing is run

docs/api.md has all of it. Importing this does not import torch; compiling does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from specc.collector import uncollected
from specc.version import __version__

if TYPE_CHECKING:
    from specc.devices import Placement
    from specc.driver import SpecError, check, compile
    from specc.passes import PassError
    from specc.report import Diagnostic, Fix, Label, Report, Severity
    from specc.source import Source, Span
    from specc.untrusted import load

__all__ = [
    "Diagnostic",
    "Fix",
    "Label",
    "PassError",
    "Placement",
    "Report",
    "Severity",
    "Source",
    "Span",
    "SpecError",
    "__version__",
    "check",
    "compile",
    "load",
    "load_ipython_extension",
]
# A name's module is imported when the name is first asked for: `specc.__main__` tells of an interrupt while
# modules are read, and is itself read after this.
_HOMES = {
    "devices": ("Placement",),
    "driver": ("SpecError", "check", "compile"),
    "passes": ("PassError",),
    "report": ("Diagnostic", "Fix", "Label", "Report", "Severity"),
    "source": ("Source", "Span"),
    "untrusted": ("load",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with uncollected():
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext specc` in a notebook: the cell magic `%%arec`, and pictures of all models."""
    import_module(f"{__name__}.notebook.magic").load(shell)
