"""`specc explain`: the long form of a diagnostic's code, with a spec that has the fault and one without."""

from __future__ import annotations

import json
import os

import click

from specc.report.codes import CODES, Page

# What codes are about, by their first digits.
_GROUPS = {
    "E00": "Files",
    "E01": "How a spec is written",
    "E02": "Names, files, calls",
    "E03": "Types: axes and widths",
    "E04": "Settings",
    "E05": "What declarations promise",
    "E06": "Devices and places",
    "W07": "Warnings: legal, and most likely a mistake",
}


@click.command()
@click.argument("code", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def command(ctx: click.Context, code: str | None, as_json: bool) -> None:
    """Explain a diagnostic's CODE, such as E0301; without one, list them all.

    A warning is silenced in place with `# allow W0701` at the end of its line or on the line above.
    """
    if code is None:
        pages = [CODES[name] for name in CODES]
        if as_json:
            click.echo(json.dumps([{"code": p.code, "title": p.title} for p in pages], indent=2))
        else:
            _list(pages)
        return
    name = code.upper()
    if name[:1] in ("E", "W") and name[1:].isdecimal():
        name = f"{name[0]}{int(name[1:]):04d}"
    if name not in CODES:
        from specc.report.suggest import distance

        close = [known for known in CODES if distance(name, known) == 1][:3]
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        ctx.fail(f"there is no code {code!r}; {meant}`specc explain` lists them all")
    page = CODES[name]
    if as_json:
        keys = ("code", "title", "text", "faulty", "repaired")
        click.echo(json.dumps({key: getattr(page, key) for key in keys}, indent=2, ensure_ascii=False))
    else:
        click.echo(_shown(page), nl=False)


def _list(pages: list[Page]) -> None:
    for group, about in _GROUPS.items():
        click.echo(_bold(about))
        for page in pages:
            if page.code.startswith(group):
                click.echo(f"  {page.code}  {page.title}")
        click.echo()
    click.echo("`specc explain CODE` says more, with an example.")


def _shown(page: Page) -> str:
    """Return the page for a terminal: examples indented, headings for fences."""
    out = []
    inside = False
    for line in page.text.splitlines():
        if line.startswith("```"):
            inside = not inside
            role = line.removeprefix("```arec ")
            if inside:
                heads = {"faulty": "Faulty:", "repaired": "Repaired:"}
                out += [_bold(heads.get(role, f"In {role}, beside it:")), ""]
            continue
        if line.startswith("# ") and not inside:
            out.append(_bold(line.removeprefix("# ")))
        else:
            out.append(f"    {line}".rstrip() if inside else line)
    return "\n".join(out) + "\n"


def _bold(text: str) -> str:
    return text if "NO_COLOR" in os.environ else click.style(text, bold=True)
