"""What an editor asks of a spec while it is written: types, definitions, completions.

Promises: every answer is made of one analysis of the text (`analysis`), and of the last one without syntax
faults for what a broken text cannot say; never imports torch. Leaves the protocol to `specc.lsp`, and what is
wrong with a text to the compiler's own report.
"""

from specc.ide.analysis import Analysis, analyse

__all__ = ["Analysis", "analyse"]
