"""Tests that the site builds without a warning, documents all public names and loads no external files."""

import html
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import convrnn_zoo
from convrnn_zoo import layers, list_models
from tests.helpers.docs.pages import ROOT

pytestmark = pytest.mark.slow  # the links of the pages are tested without the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **QUIET})
    assert done.returncode == 0, done.stderr
    return out


QUIET = {"NO_MKDOCS_2_WARNING": "1"}  # a notice of the theme


def test_the_reference_has_all_public_names(site: Path) -> None:
    pages = " ".join(p.read_text(encoding="utf-8") for p in (site / "reference").glob("*.html"))
    shown = set(re.findall(r'<h\d id="convrnn_zoo\.(\w+)"', pages))
    modules = {"exporting", "hub", "interop", "layers", "models", "WEIGHTS", "__version__"}
    assert set(convrnn_zoo.__all__) - modules <= shown
    core = re.compile(r"(min)?conv\w+\dd_(bi_)?\dlayer")
    assert {n for n in list_models() if not core.fullmatch(n)} <= set(re.findall(r'<h3 id="(\w+)"', pages))


@pytest.mark.parametrize("name", [name for name in layers.__all__ if inspect.isclass(getattr(layers, name))])
def test_the_reference_names_every_argument_of_a_layer(name: str, site: Path) -> None:
    page = (site / "reference" / "layers.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub("<[^>]+>", "", page.split(f'id="convrnn_zoo.{name}"')[1].split("</pre>")[0]))
    shown = re.findall(r"^ {4}(\w+)(?:=.+)?,$", text.partition(f"{name}(")[2], re.MULTILINE)
    assert shown == list(inspect.signature(getattr(layers, name)).parameters)


def test_no_page_shows_unrendered_markup(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r":(class|func|meth|data):|\.\. math::|={4,}|\*\*\w", text), page.name
    assert "<math" in (site / "reference" / "layers.html").read_text(encoding="utf-8")


def test_no_page_loads_external_files(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(script|img|iframe)[^>]* src="(https?:)?//|<link[^>]* href="(https?:)?//', text), (
            page.name
        )


def test_names_in_tables_wrap_and_are_indexed_unbroken(site: Path) -> None:
    page = (site / "models" / "weights.html").read_text(encoding="utf-8")
    assert "<code>convgru_<wbr>advection.<wbr>nowcast</code>" in page
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "convgru_advection.nowcast" in index
    assert "wbr" not in index
