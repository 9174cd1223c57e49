"""Whole numbers on the command line: as far as machines count."""

from __future__ import annotations

from typing import Any

import click

MOST = 2**63 - 1


class Whole(click.IntRange):
    """A whole number from the least on. most: 64 bits, where nothing bounds it sooner."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found: int = super().convert(value, param, ctx)
        if abs(found) > MOST:
            self.fail(f"{found} is beyond what is counted to, {MOST}", param, ctx)
        return found
