"""Rules of the house that no linter knows."""

import re
from pathlib import Path

import pytest

import convrnn_zoo

PACKAGE = Path(convrnn_zoo.__file__).parent


@pytest.mark.parametrize("file", sorted((PACKAGE / "models").glob("*.py")), ids=lambda p: p.name)
def test_no_model_knows_a_loss(file):
    assert not re.search(r"\w+_loss\b|cross_entropy|\bnn\.\w+Loss\b", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_fits_in_one_head(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 260
