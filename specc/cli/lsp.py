"""`specc lsp`: the language server that editors start."""

from __future__ import annotations

import click

from specc.cli.common import fail


@click.command()
@click.option("--stdio", is_flag=True, hidden=True, help="What many editors pass; there is no other way.")
def command(stdio: bool) -> None:
    """Answer an editor on standard input and output, in the Language Server Protocol.

    Editors start it; docs/editors.md says how. It needs the extra `lsp`.
    """
    try:
        from specc.lsp.server import server
    except ImportError as missing:
        fail(f"`specc lsp` needs {missing.name}, which the extra brings: pip install 'arec[lsp]'")
    server().start_io()
