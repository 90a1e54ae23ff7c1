"""Weights and inputs are freed with their owners, and threads do not disturb each other."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.helpers.layers.comparison import VARIANTS
from tests.helpers.layers.oracles import case_id, space
from tests.helpers.registry import two_dimensions_first


@pytest.fixture
def collect() -> Iterator[Callable[[], int]]:
    """Collects garbage of the test only, since collecting older objects is slow."""
    gc.freeze()
    yield gc.collect
    gc.unfreeze()


THREADS = """
import threading
import torch
from convrnn_zoo import layers

torch.set_num_threads(1)
torch.manual_seed(0)
rnn = getattr(layers, "{name}")(2, 3, 3, bidirectional=True, **{options})
xs = [torch.randn(4, 2, 2, *(5 + i,) * rnn.ndim, requires_grad=True) for i in range(8)]  # a size of its own for each

def work(i, found):
    for _ in range(5):
        with torch.inference_mode():
            alone = rnn(xs[i])[0]
        y = rnn(xs[i])[0]
        assert torch.allclose(y, alone, atol=1e-6)
        found[i] = (y.detach(), *torch.autograd.grad(y.square().sum(), [xs[i], *rnn.parameters()]))

call = torch.nn.Module.__call__
together, one_by_one = {{}}, {{}}
start = threading.Barrier(8)
def threaded(i):
    start.wait()
    work(i, together)
threads = [threading.Thread(target=threaded, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
for i in range(8):
    work(i, one_by_one)
assert len(together) == 8, together.keys()
for i in range(8):
    for a, b in zip(together[i], one_by_one[i], strict=True):
        assert torch.equal(a, b), (i, (a - b).abs().max())
assert torch.nn.Module.__call__ is call
"""


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(VARIANTS), ids=case_id)
@pytest.mark.slow
def test_eight_threads_from_a_cold_start(cls: type, options: dict) -> None:
    script = THREADS.format(name=cls.__name__, options=options)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_a_deleted_module_is_freed(cls: type, options: dict, recompute: bool, collect: Callable[[], int]) -> None:
    gone = []
    for size in range(4, 7):
        rnn: Any = cls(2, 3, 3, **options)
        rnn.grad_checkpointing = recompute
        y = rnn(torch.randn(3, 2, 2, *space(rnn, size)))[0]
        y.sum().backward()
        gone += [weakref.ref(rnn), *(weakref.ref(p) for p in rnn.parameters()), weakref.ref(y)]
        with torch.inference_mode():
            rnn(torch.randn(3, 2, 2, *space(rnn, size)))
        del rnn, y
    collect()
    assert not [ref for ref in gone if ref() is not None]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("cls", "options"), VARIANTS, ids=case_id)
def test_the_input_is_freed_after_backward_while_the_loss_exists(
    cls: type, options: dict, recompute: bool, collect: Callable[[], int]
) -> None:
    rnn: Any = cls(2, 3, 3, bidirectional=True, **options)
    rnn.grad_checkpointing = recompute
    x = torch.randn(3, 2, 2, *space(rnn))
    loss = rnn(x)[0].sum()
    ref = weakref.ref(x)
    del x
    loss.backward()
    assert loss.grad_fn is not None
    collect()
    assert ref() is None
