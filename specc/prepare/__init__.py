"""From an event log (user, item, category, behaviour, time) to Parquet examples for a spec.

`scan`, `events` and `build` are for engines of one's own (engines, users).
"""

from specc.prepare.engines import events, scan
from specc.prepare.run import Prepared, prepare
from specc.prepare.settings import PrepareError, Settings
from specc.prepare.users import build
from specc.prepare.whole import Global

__all__ = ["Global", "PrepareError", "Prepared", "Settings", "build", "events", "prepare", "scan"]
