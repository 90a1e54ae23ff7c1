"""Tests of `make mutants`."""

import ast
from pathlib import Path

import pytest

from tools.mutants import Mutant, find_mutants, pytest_paths, sample_mutants, survives

ROOT = Path(__file__).parents[2]
SOURCE = '''"""Text 1."""
def largest(a: int = 2, b: "1 + 1" = 0) -> int:
    if a > b and not b:
        raise ValueError(f"{a + b} is wrong")
    return a if a is not None else -b  # ε
'''


def test_operators_numbers_and_conditions_are_changed():
    found = [(m.line, m.before, m.after) for m in find_mutants(SOURCE, "a.py")]
    assert sorted(found) == [
        (2, "0", "(1)"), (2, "2", "(3)"), (3, "a > b", "(a >= b)"), (3, "a > b and not b", "(a > b or not b)"),
        (3, "not b", "(b)"), (5, "-b", "(b)"), (5, "a if a is not None else -b", "(-b if a is not None else a)"),
        (5, "a is not None", "(a is None)"),
    ]  # fmt: skip
    for mutant in find_mutants(SOURCE, "a.py"):
        ast.parse(mutant.source)
        changed = [n for n, pair in enumerate(zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True), 1)
                   if pair[0] != pair[1]]  # fmt: skip
        assert changed == [mutant.line]


def test_the_sample_is_of_different_lines_and_repeats():
    mutants = sample_mutants(ROOT, ("pretrained", "values"), 30, seed=3)
    assert mutants == sample_mutants(ROOT, ("pretrained", "values"), 30, seed=3)
    assert mutants != sample_mutants(ROOT, ("pretrained", "values"), 30, seed=4)
    assert len({(m.file, m.line) for m in mutants}) == 30
    assert {m.file.split("/")[1] for m in mutants} == {"pretrained", "values"}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("convrnn_zoo/values/units.py", [["tests/values/test_units.py"], ["tests/values"]]),
        ("convrnn_zoo/layers/_conv.py", [["tests/layers/test_conv.py"], ["tests/layers"]]),
        ("convrnn_zoo/_hints.py", [["tests/test_hints.py"], ["tests"]]),
    ],
)
def test_the_tests_are_those_of_the_file_and_then_of_the_folder(file, expected):
    assert pytest_paths(ROOT, file) == expected


@pytest.mark.parametrize(("after", "expected"), [("a >= b", True), ("a < b", False), ("a +", False)])
def test_a_mutant_survives_tests_that_pass(after, expected, tmp_path):
    for folder in ("convrnn_zoo/values", "tests/values"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "convrnn_zoo/__init__.py").touch()
    source = "def largest(a, b):\n    return a if a > b else b\n"
    (tmp_path / "convrnn_zoo/values/small.py").write_text(source)
    (tmp_path / "tests/values/test_small.py").write_text(
        "from convrnn_zoo.values.small import largest\ndef test_a(): assert largest(1, 2) == largest(2, 1) == 2\n"
    )
    mutant = Mutant("convrnn_zoo/values/small.py", 2, "a > b", after, source.replace("a > b", after))
    assert survives(mutant, tmp_path, timeout=500) is expected
    assert (tmp_path / "convrnn_zoo/values/small.py").read_text() == source
