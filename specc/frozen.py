"""`dataclass` of the runtime, whose classes are made when they are first used."""

from specc_runtime.frozen import dataclass as dataclass
