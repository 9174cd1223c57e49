"""Adds to the site what is no Markdown in docs/: the README, the notebook, the diagnostics' pages, a page for
every spec.

A hook of MkDocs. Texts keep their links as they stand in the repository: `_site` says which file of it is
which page, and every link of a page is rewritten by it.
"""

from __future__ import annotations

import json
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_SPREAD = re.compile(r"(\d) ± (?=\d)")  # not to be broken in a cell
# Code of one line, in which MkDocs, unlike GitHub, takes a `|` as it is even in a table.
_CELL_CODE = re.compile(r"`[^`\n]*`")
# The comment that a spec begins with, and the addresses and code in it.
_ABOUT = re.compile(r"(?:^#.*\n)+")
_ADDRESS = re.compile(r"(https?://\S*[^\s,;.:)]|`[^`]*`)")
# What a test reads in a document: the name of a block's file, and why a block is not run.
_FILE = re.compile(r"<!-- file: (\S+) -->\n```(\w+)\n")
_NOTE = re.compile(r"<!-- (?:needs|not run): [^>]*-->\n")
# Pages about models that are of no single one of the seven.
_OTHER = {"models/README.md", "models/equations.md", "models/results.md", "models/taobao.md"}
_EQUATIONS = "docs/models/equations.md"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FAULTS = re.compile(r"^```arec (faulty|repaired|options)$", re.M)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that `_site` names beyond docs/."""
    for path, page in _site().items():
        if not path.startswith("docs/") or path.endswith(".ipynb"):
            made = _MADE.get(Path(path).suffix)
            text = made(path) if made is not None else (ROOT / path).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    for path in _specs():
        drawn = _picture(path)
        if drawn:
            files.append(File.generated(config, _site()[path].replace(".md", ".svg"), content=drawn))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every model and every diagnostic into the menu."""
    for section in config.nav or []:
        if "Diagnostics" in section:
            section["Diagnostics"] += sorted(_pages("specc/report/pages/"))
        if "Models" in section:
            section["Models"] += [
                "models/results.md",
                {"The seven": sorted(_pages("docs/models/") - _OTHER)},
                {"Their specs": [_site()[path] for path in _specs() if path.count("/") == 1]},
                {"More models": ["models/taobao.md", "models/equations.md", *_more()]},
                {"Standard library": [_site()[path] for path in _specs() if path.startswith("specs/std/")]},
            ]
    return config


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with the site's links, and with the names of its files as titles."""
    here = {target: path for path, target in _site().items()}[page.file.src_uri]
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it would name this page alone
    text = _FILE.sub(r'```\2 title="\1"\n', _NOTE.sub("", markdown))
    text = _FAULTS.sub(r'```arec title="\1"', text)
    # Links of code are none: they are cut out, and put back after the rest is rewritten.
    code = _FENCE.findall(text)
    rest = _FENCE.split(text)
    linked = [_LINK.sub(lambda found: _link(found, here, page), part) for part in rest]
    parts = [_CELL_CODE.sub(lambda code: code[0].replace(r"\|", "|"), part) for part in linked]
    parts = [_SPREAD.sub("\\1\u00a0±\u00a0", part) for part in parts]
    return "".join(part + fence for part, fence in zip(parts, [*code, ""], strict=True))


def _link(found: re.Match[str], here: str, page: Page) -> str:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), found["path"]))
    target = _site().get(path)
    if target is None and path.startswith("docs/") and (ROOT / path).is_file():
        target = path.removeprefix("docs/")
    if target is None and page.file.src_uri.endswith(found["path"].replace(".svg", ".md")):
        return found[0]  # the picture that is made beside a spec's page
    if target is None:
        raise PluginError(f"{here}: the link {found[0]} leads to no page of the site")
    return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".") + (found["anchor"] or "")


@cache
def _site() -> dict[str, str]:
    """From a file of the repository to its page of the site."""
    named = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
    named |= {"LICENSE": "license.md"}
    named |= {f"docs/{path}": path for path in _below("docs", "**/*.md")}
    named |= {f"docs/{path}": path.replace(".ipynb", ".md") for path in _below("docs", "*.ipynb")}
    named |= {
        f"specc/report/pages/{name}": f"diagnostics/{name}" for name in _below("specc/report/pages", "*.md")
    }
    return named | {path: path.replace(".arec", ".md") for path in _specs()}


def _below(folder: str, pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).glob(pattern))


def _pages(start: str) -> set[str]:
    return {page for path, page in _site().items() if path.startswith(start)}


@cache
def _specs() -> list[str]:
    return [f"specs/{path}" for path in _below("specs", "**/*.arec")]


def _more() -> list[str]:
    return [_site()[path] for path in _specs() if path.startswith("specs/more/")]


def _spec(path: str) -> str:
    """The page of a spec: its picture, where it is a model, its equations or where they are, and its text."""
    name = Path(path).stem
    text = (ROOT / path).read_text(encoding="utf-8")
    blocks = [f"# {name}", _about(text), *_elsewhere(path)]
    if _picture(path):
        blocks.append(f"![{name}]({name}.svg)")
    blocks += _equations(path)
    return "\n\n".join(filter(None, [*blocks, f'```arec title="{path}"\n{text}```'])) + "\n"


def _equations(path: str) -> list[str]:
    """A model's part of the page of equations, with what that says of its notation."""
    title, *parts = re.split(r"^## (\w+)\n", (ROOT / _EQUATIONS).read_text(encoding="utf-8"), flags=re.M)
    own = dict(zip(parts[::2], parts[1::2], strict=True)).get(Path(path).stem)
    if own is None:
        return []
    to = posixpath.relpath(posixpath.dirname(_EQUATIONS), posixpath.dirname(path))
    linked = _LINK.sub(lambda found: f"{to}/{found[0]}", own)
    return ["## Equations", linked.strip(), title[title.index("**Notation.**") :].strip(), "## Spec"]


def _about(text: str) -> str:
    """What the comment at the head of a spec says, its addresses as links; `_`, `*`, `<` are themselves."""
    found = _ABOUT.match(text)
    lines = [] if found is None else [line.removeprefix("#").strip() for line in found[0].splitlines()]
    parts = _ADDRESS.split("\n".join(lines))
    # Every second part is an address or code.
    return "".join(
        re.sub(r"([_*<])", r"\\\1", part) if place % 2 == 0 else part if part[0] == "`" else f"<{part}>"
        for place, part in enumerate(parts)
    )


def _elsewhere(path: str) -> list[str]:
    """Where other pages have a spec's equations and results, or its rows of a table of results."""
    name = Path(path).stem
    for model in sorted(_pages("docs/models/") - _OTHER, key=len, reverse=True):
        if path.count("/") == 1 and name.partition("_")[0] == Path(model).stem:
            about = f"[{Path(model).stem}](../docs/{model})"
            return [f"Its equations, what the published code does otherwise, and results: {about}."]
    page = "docs/models/taobao.md"
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    begins = [i for i, line in enumerate(lines) if line.startswith(f"| [{name}](../../{path})")]
    if not begins:
        return []
    head = max(i for i, line in enumerate(lines[: begins[0]]) if line.startswith("|---"))
    rows = [re.sub(r"\[(\w+)\]\([^)]*\)", r"\1", lines[i]) for i in begins]
    return [f"On [one log of clicks](../../{page}):", "\n".join([lines[head - 1], lines[head], *rows])]


def _notebook(path: str) -> str:
    """The page of a notebook: its texts, its code, and what that gave."""
    blocks = []
    for cell in json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        else:
            language = "arec" if source.startswith("%%arec") else "python"
            blocks += [f"```{language}\n{source}\n```", *map(_output, cell["outputs"])]
    return "\n\n".join(blocks) + "\n"


def _output(output: dict[str, Any]) -> str:
    """What a cell gave: its HTML, else its text without colours."""
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "\n".join(output.get("traceback", ())) or "".join(output.get("text") or data["text/plain"])
    return f"```text\n{_COLOUR.sub('', text).rstrip()}\n```"


_MADE = {".arec": _spec, ".ipynb": _notebook}


@cache
def _picture(path: str) -> str | None:
    """The picture of a model as SVG; None of a library."""
    from specc.driver import load
    from specc.passes import prepared
    from specc.show.scene import scene
    from specc.show.svg import svg

    graph, _ = load(str(ROOT / path), {})
    return None if graph is None else svg(scene(prepared(graph)))
