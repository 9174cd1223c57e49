"""Example files in every format, and batches of them in an order that can be taken up again."""

from specc_runtime.data.columns import Column, Typing, columns_of
from specc_runtime.data.dialect import Dialect
from specc_runtime.data.examples import Examples
from specc_runtime.data.files import names_of, read_lines, read_tables
from specc_runtime.data.frames import encoded
from specc_runtime.data.parts import USES, Parts, find_files, find_parts, find_tests
from specc_runtime.data.select import select
from specc_runtime.data.stream import Place, Stream

__all__ = [
    "USES",
    "Column",
    "Dialect",
    "Examples",
    "Parts",
    "Place",
    "Stream",
    "Typing",
    "columns_of",
    "encoded",
    "find_files",
    "find_parts",
    "find_tests",
    "names_of",
    "read_lines",
    "read_tables",
    "select",
]
