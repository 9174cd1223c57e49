"""Example files, and batches of them in an order that can be taken up again."""

from specc_runtime.data.files import find_files
from specc_runtime.data.select import select
from specc_runtime.data.stream import Place, Stream

__all__ = ["Place", "Stream", "find_files", "select"]
