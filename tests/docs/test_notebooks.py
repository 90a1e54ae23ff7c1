"""The notebooks of the tutorials are valid, and run from the first cell to the last."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

import convrnn_zoo
from tests.helpers.docs import climate
from tests.helpers.docs.pages import ROOT
from tools import EXAMPLE, figures
from tools.docs import notebooks

TUTORIALS = sorted(page for page in (ROOT / "docs").rglob("*.md") if notebooks.has_notebook(page))
every_tutorial = pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)


@every_tutorial
def test_a_notebook_has_all_cells_of_its_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    book = nbformat.read(ROOT / notebooks.path(page), as_version=4)
    nbformat.validate(book)
    title, install, *cells = book.cells
    assert title.source.startswith(text.partition("\n")[0])
    assert "%pip install" in install.source
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    runs = [match for match in EXAMPLE.finditer(text) if not match["head"]]
    assert len(code) == len(runs) > 3
    assert all(match["code"].rstrip() in source for match, source in zip(runs, code, strict=True))
    assert not [cell.source for cell in book.cells if cell.cell_type == "markdown" and "](../" in cell.source]


def test_the_extras_of_a_page_are_installed() -> None:
    text = "You need the\nextras `cli` and `draw` ([Install](../install.md)). It takes `much` time."
    assert "convrnn-zoo[cli,draw] @ git+https://" in notebooks.install(text, "https://x.org")


@pytest.mark.slow
@every_tutorial
def test_a_notebook_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the extra dev")
    pytest.importorskip("ipykernel", reason="the extra dev")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(convrnn_zoo.__file__).parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(ROOT / notebooks.path(page), as_version=4)
    (tmp_path / "run").mkdir()
    if page.stem in climate.PAGES:
        climate.write_climate(tmp_path / "run")
    client = nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path / "run")}})
    client.execute()
    assert figures(page) or page.parent.name != "tutorials"
    assert not [file for file in figures(page) if not (tmp_path / "run" / file).is_file()]
