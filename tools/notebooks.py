"""The tutorials as notebooks in ``notebooks/``, which ``make docs`` writes from the pages.

Python blocks become cells, commands become cells of bash, and recipes become cells that write a file. Text and blocks
that are not run become Markdown, with links to the site and to the figures of the repository.
"""

import json
import re
from pathlib import Path
from typing import Any

from .release import project

EXAMPLE = re.compile(
    r"(?P<head><!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
"""A block of code of a page with its language, and the reason why it is not run, if there is one."""
DIRECTORY = "notebooks"
OTHERS = ("docs/how-to/gpu.md",)
"""Pages other than tutorials that have a notebook."""
_GENERATED = re.compile(r"<!-- generated: \w+ -->\n.*?<!-- end -->\n*", re.DOTALL)


def has_notebook(page: Path) -> bool:
    """Returns whether a page has a notebook: tutorials, and those of :data:`OTHERS`."""
    return page.parent.name == "tutorials" or page.as_posix().endswith(OTHERS)


def path(page: Path) -> Path:
    """Returns the path of the notebook of a tutorial, relative to the repository."""
    return Path(DIRECTORY) / f"{page.stem}.ipynb"


def notebook(text: str) -> str:
    """Returns the notebook of the text of a tutorial, as JSON."""
    source, site = (project()["urls"][name].rstrip("/") for name in ("Source", "Documentation"))
    cells = [install(text, source)]
    end = 0
    text = _GENERATED.sub("", text)
    for match in EXAMPLE.finditer(text):
        cells.append(_markdown(text[end : match.start()], source, site))
        end = match.end()
        code = match["code"]
        if match["head"]:
            cells.append(_markdown(match[0].removeprefix(match["head"]), source, site))
        elif match["language"] == "python":
            cells.append(_code(code))
        elif match["language"] == "toml":
            cells.append(_code(f"%%writefile {code.split()[1]}\n{code}"))
        else:
            cells.append(_code(f"%%bash -e\n{code}"))
    cells.append(_markdown(text[end:], source, site))
    cells = [cell for cell in cells if cell["source"]]
    title = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown")
    cells.insert(0, cells.pop(title))
    content = {
        "cells": [{"id": f"cell-{i}", **cell} for i, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def install(text: str, source: str) -> dict[str, Any]:
    """Returns the cell that installs the package with the extras that a page names. It is not run by the tests.

    If the page needs a checkout, the cell installs from one, and changes to its directory.
    """
    named = re.search(r"You need (?:a checkout with )?the\s+extras?\s+([^.([]+)", text)
    extras = ",".join(re.findall(r"`(\w+)`", named[1])) if named else "cli,draw"
    code = f'%pip install --quiet "convrnn-zoo[{extras}] @ git+{source}"\n'
    if "You need a checkout" in text:
        code = f"!git clone --quiet --depth 1 {source} checkout\n%cd checkout\n"
        code += f'%pip install --quiet --editable ".[{extras}]"\n'
    cell = _code(code)
    return {**cell, "metadata": {"tags": ["skip-execution"]}}


def _code(code: str) -> dict[str, Any]:
    lines = code.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


def _markdown(text: str, source: str, site: str) -> dict[str, Any]:
    text = re.sub(r"\]\(\.\./(pictures/[^)]+)\)", rf"]({source}/raw/main/docs/\1)", text)
    text = re.sub(r"\]\(\.\./([^)#]+)\.md(#[^)]*)?\)", rf"]({site}/latest/\1.html\2)", text)
    text = re.sub(r"\]\(([\w-]+)\.md(#[^)]*)?\)", rf"]({site}/latest/tutorials/\1.html\2)", text)
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip("\n").splitlines(keepends=True)}
