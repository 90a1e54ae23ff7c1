"""Loops over time, with sums, words and integers in place of convolutions."""

import weakref

import pytest
import torch
from torch import Tensor

from convrnn_zoo.layers._run import fold, run_loop


def test_order_of_time() -> None:
    def spell(x: str, s: tuple[str]) -> tuple[str]:
        return (s[0] + x,)

    assert run_loop(spell, "abc", (">",)) == ([">a", ">ab", ">abc"], (">abc",))
    assert run_loop(spell, "abc", (">",), reverse=True) == ([">cba", ">cb", ">c"], (">cba",))


def test_first_state_is_the_output_and_all_are_passed_on() -> None:
    ys, last = run_loop(lambda x, s: (s[0] + s[1], s[1] * x), [2, 3], (0, 1))  # the second is a running product
    assert (ys, last) == ([1, 3], (3, 6))


def test_initial_state_is_not_modified() -> None:
    state = (torch.zeros(3),)
    fold(lambda x, s: (s[0] + x,), [torch.ones(3), torch.ones(1)], state, sizes=[3, 1])
    assert not state[0].any()


def test_a_fold_keeps_only_the_last_state_in_memory() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def step(x: int, state: tuple[Tensor]) -> tuple[Tensor]:
        assert sum(ref() is not None for ref in alive) <= 1
        new = state[0] + x
        alive.append(weakref.ref(new))
        return (new,)

    (last,) = fold(step, [1, 2, 3, 4], (torch.tensor(0),))
    assert last == 10


@pytest.mark.parametrize("reverse", [False, True])
def test_one_step(reverse: bool) -> None:
    assert run_loop(lambda x, s: (x - s[0],), [5], (3,), reverse=reverse) == ([2], (2,))


def test_packed_forward_a_sequence_that_ended_keeps_its_state() -> None:
    xs = [torch.tensor([1, 10, 100]), torch.tensor([2, 20]), torch.tensor([3])]
    ys, (last,) = run_loop(lambda x, s: (s[0] + x,), xs, (torch.tensor([0, 0, 7]),), sizes=[3, 2, 1])
    assert [y.tolist() for y in ys] == [[1, 10, 107], [3, 30], [6]]
    assert last.tolist() == [6, 30, 107]


def test_packed_reversed_a_sequence_enters_at_its_own_end() -> None:
    xs = [torch.tensor([1, 10, 100]), torch.tensor([2, 20]), torch.tensor([3])]
    start = (torch.tensor([1000, 2000, 3000]),)
    ys, (last,) = run_loop(lambda x, s: (s[0] + x,), xs, start, reverse=True, sizes=[3, 2, 1])
    assert [y.tolist() for y in ys] == [[1006, 2030, 3100], [1005, 2020], [1003]]
    assert last.tolist() == [1006, 2030, 3100]
