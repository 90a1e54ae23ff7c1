"""Of tests that repeat a rule over many classes, two cases per rule and a fixed sample of the rest run by default."""

from pathlib import Path
from types import SimpleNamespace

import pytest


class Item(SimpleNamespace):
    """A test with the parts that the selection reads."""

    def get_closest_marker(self, name):
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, mark):
        self.marks.append(mark.mark)


def items(name="test_a"):
    mark = pytest.mark.sampled("cls").mark
    return [
        Item(
            nodeid=f"{name}[{number}-{rule}]",
            path=Path("test_file.py"),
            originalname=name,
            marks=[mark],
            callspec=SimpleNamespace(params={"cls": SimpleNamespace(ndim=1 + number % 3), "rule": rule}),
        )
        for number in range(100)
        for rule in ("bound", "type")
    ]


def run_by_default(tests):
    return [test for test in tests if not test.get_closest_marker("slow")]


@pytest.fixture
def mark_repetitions(request):
    (conftest,) = (p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "mark_repetitions"))
    return conftest.mark_repetitions


def test_two_cases_of_every_rule_and_a_tenth_of_the_rest_run(mark_repetitions):
    tests = items() + items("test_b")
    mark_repetitions(tests)
    default = run_by_default(tests)
    assert 4 * 2 + 20 < len(default) < 4 * 2 + 60  # of 400
    for name in ("test_a", "test_b"):
        for rule in ("bound", "type"):
            of_rule = [t for t in default if t.originalname == name and t.callspec.params["rule"] == rule]
            assert [t.callspec.params["cls"].ndim for t in of_rule].count(2) >= 2
    again = items() + items("test_b")
    mark_repetitions(again)
    assert [t.nodeid for t in run_by_default(again)] == [t.nodeid for t in default]


def test_other_tests_and_slow_ones_are_as_they_were(mark_repetitions):
    plain, slow = items(), items()
    for test in plain:
        test.marks = []
    for test in slow[:-6]:
        test.marks.append(pytest.mark.slow.mark)
    mark_repetitions(plain)
    mark_repetitions(slow)
    assert run_by_default(plain) == plain
    assert len(run_by_default(slow)) >= 4  # two of each rule among those that were not slow
