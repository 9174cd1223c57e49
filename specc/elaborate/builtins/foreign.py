"""Operations of other packages, as they are called in a spec.

Promises: they are asked for after all names of the language, of the spec and of its libraries, so that what
is installed changes the meaning of none of these.
"""

from __future__ import annotations

from specc.elaborate.builtins.general import as_defined
from specc.elaborate.builtins.signature import Builtin, of_operation
from specc.elaborate.world import Site
from specc.ops.plugins import PluginError, operation
from specc.source import Span


def foreign(name: str, span: Span, site: Site) -> Builtin | None:
    """Return the operation of an installed package, None where none has one. Raises Fault if it cannot be
    used."""
    try:
        known = operation(name)
    except PluginError as error:
        raise site.world.fault(
            "E0212", str(error), span, help="install another version of the package, or remove it"
        ) from None
    return None if known is None else of_operation(known, as_defined(known))
