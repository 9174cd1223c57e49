"""What vectors are: which model made them, and what they are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from specc_runtime.version import __version__

KEY = b"arec.vectors"  # in the metadata of a table's schema
FORMAT = 1

Product = Literal["inner", "cosine"]


class RetrievalError(ValueError):
    """Vectors or an index that cannot be read, do not fit a model, or cannot be made."""


@dataclass(frozen=True)
class Made:
    """model, version: the name of the model that made the vectors, and the hash of its weights.
    output: what they are called there, and their column. width: their channels.
    prediction, request, product: the prediction orders candidates as the product of their vectors with the
        output `request` does; None where the model has no such prediction, and `why` then says so.
    runtime: the version of arec-runtime.
    """

    model: str
    version: str
    output: str
    width: int
    prediction: str | None = None
    request: str | None = None
    product: Product | None = None
    why: str = ""
    runtime: str = __version__

    def text(self) -> str:
        """All of it as JSON, from which `of` makes the same."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @staticmethod
    def of(raw: Mapping[str, Any], where: str) -> Made:
        """What a JSON object says. Raises RetrievalError. where: what it is read from, for messages."""
        try:
            if int(raw["format"]) > FORMAT:
                raise RetrievalError(
                    f"{where} was made by arec-runtime {raw.get('runtime')}; this is {__version__}, which "
                    f"reads "
                    f"up to format {FORMAT}: upgrade it, or make them anew"
                )
            own = Made(**{name: value for name, value in raw.items() if name != "format"})
            texts = all(isinstance(text, str) for text in (own.model, own.version, own.output))
            if not texts or not isinstance(own.width, int) or own.product not in (None, "inner", "cosine"):
                raise TypeError
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, RetrievalError):
                raise
            raise RetrievalError(f"{where} does not say which model made it: make it anew") from None
        return own

    def require(self, model: str, version: str, what: str) -> None:
        """Raises RetrievalError unless a model of a name and a hash of weights made what is called `what`."""
        if version == self.version:
            return
        if model != self.model:
            raise RetrievalError(
                f"the vectors of {what} are of the model `{self.model}`, and this is `{model}`: vectors "
                f"of two "
                "models cannot be compared; make them and the index with this one (`specc vectors`, "
                "`specc index`)"
            )
        raise RetrievalError(
            f"the vectors of {what} are of other weights of `{self.model}` ({self.version[:12]}…) than this "
            f"model has ({version[:12]}…): it was trained again since; make them and the index anew "
            "(`specc vectors`, `specc index`)"
        )
