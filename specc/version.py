"""The version of the compiler, and of the interface that it compiles for."""

__version__ = "0.1.0"

# What a `model.py` calls in the runtime (specc_runtime/version.py has the same number, as a test asserts).
INTERFACE = 7
