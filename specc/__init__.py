"""arec: a declarative language for recommendation models, and its compiler.

    model = specc.compile("specs/dsin.arec", dim=8)  # an nn.Module
    report = specc.check("specs/dsin.arec")
    model = specc.load("build/dsin")  # somebody's trained model, of whose code nothing is run

Importing this does not import torch; compiling does.
"""

from specc.driver import SpecError, check, compile
from specc.untrusted import load

__all__ = ["SpecError", "check", "compile", "load"]
