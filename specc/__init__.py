"""arec: a declarative language for recommendation models, and its compiler.

    model = specc.compile("specs/dsin.arec", dim=8)  # an nn.Module
    report = specc.check("specs/dsin.arec")
    model = specc.load("build/dsin")  # somebody's trained model, of whose code nothing is run

docs/api.md has all of it. Importing this does not import torch; compiling does.
"""

from specc.driver import SpecError, check, compile
from specc.report import Diagnostic, Fix, Label, Report, Severity
from specc.source import Source, Span
from specc.untrusted import load
from specc.version import __version__

__all__ = [
    "Diagnostic",
    "Fix",
    "Label",
    "Report",
    "Severity",
    "Source",
    "Span",
    "SpecError",
    "__version__",
    "check",
    "compile",
    "load",
]
