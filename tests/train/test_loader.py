"""Batches come in the order of their requests, whoever reads them."""

from functools import partial

import pytest
import torch

from convrnn_zoo.train.launch import Processes
from convrnn_zoo.train.loader import read_ahead

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def read(base, request):
    return base[request], torch.rand(2)


def requests(n):
    return (torch.randint(10, (2,)) for _ in range(n))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_read_in_order_and_again_the_same(workers):
    def run():
        torch.manual_seed(3)
        return list(read_ahead(partial(read, torch.arange(10)), requests(5), Processes(), workers=workers, seed=7))

    first, again = run(), run()
    torch.manual_seed(3)
    if workers:  # the random numbers of workers are their own
        expected = [torch.randint(10, (2,)) for _ in range(5)]
        assert all(torch.equal(x, y) for (x, _), y in zip(first, expected, strict=True))
    assert all(torch.equal(x, y) for a, b in zip(first, again, strict=True) for x, y in zip(a, b, strict=True))


def test_without_workers_requests_and_reading_take_turns_with_the_caller():
    torch.manual_seed(3)
    actual = []
    for x, noise in read_ahead(partial(read, torch.arange(10)), requests(2), Processes()):
        actual += [x, noise, torch.rand(1)]
    torch.manual_seed(3)
    expected = []
    for _ in range(2):
        expected += [torch.randint(10, (2,)), torch.rand(2), torch.rand(1)]
    assert all(torch.equal(x, y) for x, y in zip(actual, expected, strict=True))


def test_an_error_of_a_worker_is_raised_here():
    with pytest.raises(IndexError):
        list(read_ahead(partial(read, torch.arange(2)), iter([torch.tensor([5])]), Processes(), workers=1))
