"""Tests of `make mutants`."""

from pathlib import Path

import pytest

from tools.mutants import pytest_paths, sample_mutants

ROOT = Path(__file__).parents[2]


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
