"""Writes the figures of the gallery and the tutorials: ``python -m tools.pictures [--data DIR] [PAGE...]``.

The examples of a page run in order in an empty directory. The figures that the page shows are copied from this
directory to ``docs/pictures``. Without PAGE, the figures of all pages and of the forecaster families are written. DIR
has the files that pages download. Without it, such pages are skipped with a message.
"""

import argparse
import contextlib
import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

from convrnn_zoo_command.group import cli

from . import families
from .notebooks import EXAMPLE

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
PAGES = (ROOT / "docs" / "gallery.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md")))
FAMILIES = "families.png"

_DOWNLOAD = re.compile(r"^curl -LO \S+/(\S+)$", re.MULTILINE)
_SHOWN = re.compile(r"!\[[^]]*\]\([./]*pictures/([\w.]+)\)")


def shown(page: Path) -> list[str]:
    """Returns the names of the figures of a page."""
    return _SHOWN.findall(page.read_text(encoding="utf-8"))


def run(page: Path) -> None:
    """Runs the examples of a page in the current directory."""
    names: dict[str, Any] = {}
    for match in EXAMPLE.finditer(page.read_text(encoding="utf-8")):
        reason, language, code = match["reason"], match["language"], match["code"]
        if language == "toml":
            Path(code.split()[1]).write_text(code, encoding="utf-8")
        elif language == "python" and not reason:
            exec(compile(code, str(page), "exec"), names)
        elif language == "sh" and not reason:
            for line in code.replace("\\\n", "").splitlines():
                program, *words = shlex.split(line, comments=True)
                if program == "convrnn-zoo":
                    cli.main(words, standalone_mode=False)


def main(pages: list[Path], data: Path | None = None) -> None:
    """Writes the figures of `pages`, or of all pages, with the files of `data` for pages that download some."""
    matplotlib.use("agg")
    for page in pages or PAGES:
        files = _DOWNLOAD.findall(page.read_text(encoding="utf-8"))
        if files and data is None:
            print(f"{page}: skipped, since --data does not give {', '.join(files)}", flush=True)
            continue
        print(page, flush=True)
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            for file in files:
                shutil.copy((data or page) / file, ".")
            run(page)
            for name in set(shown(page)) - {FAMILIES}:
                shutil.copy(name, PICTURES / name)
    if not pages:
        families.main(PICTURES / FAMILIES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=lambda name: Path(name).resolve())
    parser.add_argument("pages", nargs="*", type=lambda name: Path(name).resolve())
    main(**vars(parser.parse_args()))
