"""The texts of an artefact, some of which are written when they are first read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping


class Texts(Mapping[str, str]):
    """Texts by file name. texts: those that take a while and may never be asked for as functions."""

    def __init__(self, texts: Mapping[str, str | Callable[[], str]]) -> None:
        self._texts = dict(texts)

    def __getitem__(self, name: str) -> str:
        text = self._texts[name]
        if not isinstance(text, str):
            text = self._texts[name] = text()
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[dict[str, str]]]:
        return dict, (dict(self),)
