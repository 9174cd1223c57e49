"""arec: a declarative language for recommendation models, and its compiler.

>>> import specc
>>> model = specc.compile("specs/dsin.arec", dim=8)  # doctest: +SKIP
"""

from specc.errors import SpecError

__all__ = ["SpecError"]
