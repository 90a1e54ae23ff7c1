"""The tutorials as notebooks in ``notebooks/``, which ``make docs`` writes from the pages.

Python blocks become cells, commands become cells of bash, and recipes become cells that write a file. Text and blocks
that are not run become Markdown, with links to the site and to the figures of the repository.
"""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .. import EXAMPLE
from ..release import project

_GENERATED = re.compile(r"<!-- generated: \w+ -->\n.*?<!-- end -->\n*", re.DOTALL)


def has_notebook(page: Path) -> bool:
    """Returns whether a page has a notebook: all tutorials, and one more."""
    return page.parent.name == "tutorials" or page.as_posix().endswith("docs/how-to/gpu.md")


def path(page: Path) -> Path:
    """Returns the path of the notebook of a tutorial, relative to the repository."""
    return Path("notebooks", f"{page.stem}.ipynb")


def notebook(text: str) -> str:
    """Returns the notebook of the text of a tutorial, as JSON."""
    source, site = (project()["urls"][name].rstrip("/") for name in ("Source", "Documentation"))
    text = _GENERATED.sub("", text)
    text = re.sub(r"\]\(\.\./(pictures/[^)]+)\)", rf"]({source}/raw/main/docs/\1)", text)
    text = re.sub(r"\]\(\.\./([^)#]+)\.md(#[^)]*)?\)", rf"]({site}/latest/\1.html\2)", text)
    text = re.sub(r"\]\(([\w-]+)\.md(#[^)]*)?\)", rf"]({site}/latest/tutorials/\1.html\2)", text)
    cells, end = [], 0
    for block in EXAMPLE.finditer(text):
        cells.append(new_markdown_cell(text[end : block.start()].strip("\n")))
        end, code = block.end(), block["code"].rstrip("\n")
        if block["head"]:
            cells.append(new_markdown_cell(block[0].removeprefix(block["head"])))
        elif block["language"] == "toml":
            cells.append(new_code_cell(f"%%writefile {code.split()[1]}\n{code}"))
        else:
            cells.append(new_code_cell(code if block["language"] == "python" else f"%%bash -e\n{code}"))
    cells.append(new_markdown_cell(text[end:].strip("\n")))
    cells = [cell for cell in cells if cell.source]
    cells.insert(1, new_code_cell(install(text, source), metadata={"tags": ["skip-execution"]}))
    for i, cell in enumerate(cells):
        cell.id = f"cell-{i}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(new_notebook(cells=cells, metadata={"kernelspec": kernel})) + "\n"


def install(text: str, source: str) -> str:
    """Returns the code that installs the package with the extras that a page names. It is not run by the tests.

    If the page needs a checkout, it installs from one, and changes to its directory.
    """
    named = re.search(r"You need (?:a checkout with )?the\s+extras?\s+([^.([]+)", text)
    extras = ",".join(re.findall(r"`(\w+)`", named[1])) if named else "cli,draw"
    if "You need a checkout" not in text:
        return f'%pip install --quiet "convrnn-zoo[{extras}] @ git+{source}"'
    clone = f"!git clone --quiet --depth 1 {source} checkout\n%cd checkout\n"
    return f'{clone}%pip install --quiet --editable ".[{extras}]"'
