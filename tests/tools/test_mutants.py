"""Tests of `make mutants`."""

from pathlib import Path

import pytest

from tools.mutants import pytest_paths, sample_mutants, survives

ROOT = Path(__file__).parents[2]
SOURCE = """def largest(a, b):
    return a if a > b else b
def unused(a):
    return a < 2
"""
TESTS = """from convrnn_zoo.values.small import largest, unused
def test_a():
    assert largest(1, 2) == largest(2, 1) == 2
    assert unused(1)
"""


@pytest.mark.slow
def test_the_sample_is_of_different_lines_and_repeats():
    mutants = sample_mutants(ROOT, ("pretrained", "values"), 30, seed=3)
    assert mutants == sample_mutants(ROOT, ("pretrained", "values"), 30, seed=3)
    assert mutants != sample_mutants(ROOT, ("pretrained", "values"), 30, seed=4)
    assert len({(m.module_path, m.start_pos[0]) for m in mutants}) == 30
    assert {m.module_path.relative_to(ROOT).parts[1] for m in mutants} == {"pretrained", "values"}


@pytest.mark.parametrize(
    ("file", "named", "folder"),
    [
        ("convrnn_zoo/values/units.py", {"tests/values/test_units.py"}, "tests/values"),
        ("convrnn_zoo/layers/_conv.py", {"tests/layers/test_conv.py", "tests/layers/test_run.py"}, "tests/layers"),
        ("convrnn_zoo/_hints.py", {"tests/test_hints.py"}, "tests"),
    ],
)
def test_the_tests_of_a_file_run_before_those_of_the_folder(file, named, folder):
    """``tests/layers/test_run.py`` imports ``_conv``."""
    first, *others = pytest_paths(ROOT, file)
    assert first[0] == file  # whose examples are tests
    assert named <= set(first)
    assert all(Path(path).parent == Path(folder) for path in first[1:])
    assert others[0] == [folder]
    assert others[1:] == ([["tests/interop"]] if "layers" in file else [])  # with the values of the original code


def test_all_tests_of_a_folder_run_if_none_names_the_file(tmp_path):
    (tmp_path / "tests/values").mkdir(parents=True)
    assert pytest_paths(tmp_path, "convrnn_zoo/values/a.py") == [["tests/values"]]
    assert pytest_paths(tmp_path, "convrnn_zoo/other/a.py") == [["tests"]]


@pytest.mark.slow
def test_a_mutant_survives_tests_that_pass(tmp_path, capsys):
    for folder in ("convrnn_zoo/values", "tests/values"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "convrnn_zoo/__init__.py").touch()
    file = tmp_path / "convrnn_zoo/values/small.py"
    file.write_text(SOURCE)
    (tmp_path / "tests/values/test_small.py").write_text(TESTS)
    mutants = sample_mutants(tmp_path, ("values",), 2, seed=0)
    results = {m.start_pos[0]: survives(m, tmp_path, timeout=500) for m in mutants}
    assert file.read_text() == SOURCE
    assert results == {2: False, 4: True}
    assert "SURVIVES convrnn_zoo/values/small.py:4" in capsys.readouterr().out
