"""A lexer for Pygments, so that Sphinx, MkDocs and Jupyter colour specs: the language `arec`.

Pygments finds it by its entry point. It goes by the form of the text alone; `tokens` knows what names mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.encodings import ENCODINGS
from specc.syntax.table import table

_DECLARING = ("param", "table", "space", "learned", "fixed", "layer", "block", "encoder", "attention",
              "predict", "output", "loss", "device", "model", "library")  # fmt: skip


def _rules() -> Iterator[Any]:
    known = table().words
    constants = [word for word, kind in known.items() if kind == "TRUTH"]
    yield (r"#[^\n]*", Comment.Single)
    yield (r'"(?:[^"\\\n]|\\.)*"?', String.Double)
    yield (r"\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?", Number)
    yield (words(("request", "candidate"), prefix=r"(?<=from )", suffix=r"\b"), Keyword.Type)
    yield (
        rf"\b({'|'.join(_DECLARING)})(\s+)([A-Za-z_]\w*)",
        bygroups(Keyword.Declaration, Text.Whitespace, Name.Variable),
    )
    yield (words(constants, prefix=r"\b", suffix=r"\b"), Keyword.Constant)
    yield (words([w for w in known if w not in constants], prefix=r"\b", suffix=r"\b(?!\s*=[^=])"), Keyword)
    yield (r"([A-Za-z_]\w*)(\s*)(=)(?!=)", bygroups(Name.Attribute, Text.Whitespace, Operator))
    yield (words((*BUILTINS, *ENCODINGS), prefix=r"\b", suffix=r"\b"), Name.Builtin)
    yield (r"([A-Za-z_]\w*)(?=\()", Name.Function)
    yield (r"[^\W\d]\w*", Name)
    yield (r"\|>|->|==|!=|<=|>=|\.\.|[-+*/%^<>=]", Operator)
    yield (r"[()\[\]{},.:;]", Punctuation)
    yield (r"\s+", Text.Whitespace)


class ArecLexer(RegexLexer):
    """Colours of specs."""

    name = "arec"
    aliases: ClassVar[list[str]] = ["arec"]
    filenames: ClassVar[list[str]] = ["*.arec"]
    url = "https://pypi.org/project/arec/"
    tokens: ClassVar[dict[str, list[Any]]] = {"root": list(_rules())}
