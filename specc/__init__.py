"""arec: a declarative language for recommendation models, and its compiler.

    model = specc.compile("specs/dsin.arec", dim=8)  # an nn.Module
    report = specc.check("specs/dsin.arec")

Importing this does not import torch; compiling does.
"""

from specc.driver import SpecError, check, compile

__all__ = ["SpecError", "check", "compile"]
