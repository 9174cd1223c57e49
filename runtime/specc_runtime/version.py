"""The version of the runtime, and of the interface that compiled models call."""

__version__ = "0.1.0"

# What a `model.py` may call in this package, as one number. It grows by one when the compiler begins to emit
# calls that the runtime did not have before; models that were compiled for an older interface still run.
INTERFACE = 7
# The oldest interface whose models still run. It grows when a name or a signature that they call goes.
OLDEST_INTERFACE = 1
