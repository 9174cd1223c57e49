"""From an event log (user, item, category, behaviour, time) to Parquet examples for a spec."""

from specc.prepare.run import Prepared, prepare
from specc.prepare.settings import PrepareError, Settings

__all__ = ["PrepareError", "Prepared", "Settings", "prepare"]
