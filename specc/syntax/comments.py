"""Comments, handed out once each to what they belong to.

Promises: a comment is taken by the first who asks for the stretch of text that it stands in, in the order of
the text; so none is printed twice, and what nobody asked for is still there to be asked for. Leaves to
`print` who asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from specc.syntax import tree
from specc.syntax.pretty import HARD, Doc, Remark


class Comments:
    """The comments of one file that nobody has taken yet."""

    def __init__(self, comments: Iterable[tree.Comment]) -> None:
        self._left = sorted(comments, key=lambda c: c.span.start)
        self._starts = [c.span.start for c in self._left]

    def take(self, start: int, stop: int) -> list[tree.Comment]:
        """Return, and remove, the comments that begin in `start <= offset < stop`."""
        low, high = bisect_left(self._starts, start), bisect_left(self._starts, stop)
        taken = self._left[low:high]
        del self._left[low:high]
        del self._starts[low:high]
        return taken

    def any(self, start: int, stop: int) -> bool:
        """Return whether one is left there."""
        return bisect_left(self._starts, start) < bisect_left(self._starts, stop)

    def between(self, start: int, stop: int, first: bool = False) -> tuple[Doc, tuple[Doc, ...]]:
        """Return what stands behind the part that ends at `start`, and above the one that begins at `stop`.

        first: nothing stands before, so that there is nothing to stand behind.
        """
        taken = self.take(start, stop)
        behind: Doc = ()
        if taken and taken[0].trailing and not first:
            behind = Remark(taken.pop(0).text)
        return behind, above(taken)


def above(taken: Iterable[tree.Comment]) -> tuple[Doc, ...]:
    """Return the comments on lines of their own before whatever comes next."""
    return tuple(piece for comment in taken for piece in (comment.text, HARD))


def below(taken: Iterable[tree.Comment]) -> Doc:
    """Return the comments on lines of their own after whatever came before."""
    return tuple(piece for comment in taken for piece in (HARD, comment.text))
