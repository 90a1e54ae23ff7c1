"""Tests that generated parts of pages are current, and that links and names exist."""

import re

import pytest
import yaml

import convrnn_zoo
from convrnn_zoo import interop
from convrnn_zoo.pretrained.registry import entry_points
from tests.helpers.docs.pages import CARDS, PAGES, ROOT, name
from tools import docs
from tools.docs import models
from tools.weights import openstl_scores

TEXTS = {name(page): page.read_text(encoding="utf-8") for page in PAGES}
OTHERS = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "HOW_TO_RELEASE.md", "SECURITY.md", "SUPPORT.md", "licenses/README.md")
"""Pages without examples that run."""


def test_generated_parts_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the forecasters, whose costs take ten seconds, three rows are compared."""
    page = (ROOT / "docs/models/choosing.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- generated: forecasters -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert table is not None
    some = ("convgru_forecaster", "predrnn", "phydnet")
    few = [(name, convrnn_zoo.create_model(name, device="meta").eval()) for name in some]
    with monkeypatch.context() as patched:
        patched.setattr(models, "_forecasters", lambda: few)
        rows = models.forecasters("docs/models/choosing.md").splitlines()
    assert len(rows) == 2 + len(some)
    assert set(rows) < set(table[1].splitlines())
    monkeypatch.setitem(docs.PARTS, "forecasters", lambda page: table[1])
    assert not {name(p) for p in docs.stale()}, "run `make docs`"


@pytest.mark.slow
def test_all_generated_parts_are_current() -> None:
    assert not {name(p) for p in docs.stale()}, "run `make docs`"


def test_every_generated_part_is_used() -> None:
    used = {part for text in TEXTS.values() for part in re.findall(r"^<!-- generated: (\w+) -->", text, flags=re.M)}
    assert used == set(docs.PARTS)


def test_every_set_of_weights_has_a_card() -> None:
    missing = {card.stem for card in CARDS} & models.TITLES.keys() ^ convrnn_zoo.WEIGHTS.keys()
    assert not missing, (
        f"name {missing} in TITLES and run `make docs`: docs/project/adding-weights.md, Add trained weights"
    )


def test_linked_files_and_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in (*TEXTS, *OTHERS):
        text = (ROOT / page).read_text(encoding="utf-8")
        for file in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert ((ROOT / page).parent / file).exists(), (page, file)
        for target in re.findall(r"`make ([\w-]+)`", text):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (page, target)


def test_files_named_in_contributing_exist() -> None:
    for path in re.findall(
        r"`((?:convrnn_zoo|tests|tools|docs|model_cards|notebooks)/[\w./-]*)`", TEXTS["CONTRIBUTING.md"]
    ):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_readme_is_short_and_links_what_readers_ask_first() -> None:
    text = TEXTS["README.md"]
    assert len(text.split()) <= 900
    assert text.count("```") <= 10  # five blocks
    for page in ("speed", "limits", "cite"):
        assert f"docs/project/{page}.md" in text
    for page in (
        "licenses/README.md",
        "docs/models/weights.md",
        "CONTRIBUTING.md",
        "SUPPORT.md",
        "docs/how-to/files.md",
    ):
        assert page in text
    assert re.search(r"\d\.\d\d times", text)


def test_every_source_of_checkpoints_is_listed() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` .* \| (yes|no) \|$", TEXTS["docs/how-to/interop.md"], flags=re.MULTILINE))
    assert rows == {source: "yes" if known.export else "no" for source, known in interop.SOURCES.items()}


def test_published_scores_agree_with_the_documentation_of_the_networks() -> None:
    score = re.compile(
        r"after (200|2000) epochs(?:, 10 input and 10 forecast frames)?: MSE (\d+\.\d+)"
        r"(?:, MAE [\d.]+)?(?:, SSIM (\.\d+))?"
    )
    stated = 0
    for network in openstl_scores("200"):
        for epochs, mse, ssim in score.findall(" ".join(str(entry_points()[network].__doc__).split())):
            listed = openstl_scores(epochs)[network]
            assert (mse, f"0{ssim}") == (listed[0], listed[2] if ssim else "0"), network
            stated += 1
    assert stated >= 13


def test_the_citation_is_of_this_version() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cff.keys()
    assert cff["version"] == convrnn_zoo.__version__
