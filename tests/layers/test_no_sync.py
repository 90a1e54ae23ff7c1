"""The loop over time never waits for the device, so that a CUDA graph can record it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from convrnn_zoo.layers._fused import Direction
from tests.helpers.layers.comparison import VARIANTS
from tests.helpers.layers.oracles import SEQUENCES, case_id, space
from tests.helpers.registry import two_dimensions_first

ASKS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class NoSync(TorchDispatchMode):
    """Rejects operations whose result the host waits for, except on a tensor that is on the host by contract."""

    def __init__(self, on_host: Tensor | None = None) -> None:
        super().__init__()
        self.on_host = on_host

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if ASKS & set(func.tags):
            known = self.on_host is not None and args[0].untyped_storage().data_ptr() == self.on_host.data_ptr()
            assert known, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


MINIMAL: list[tuple[type, dict[str, Any]]] = [(cls, {}) for cls in SEQUENCES if cls.is_linear]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("cls", "options"), VARIANTS + MINIMAL, ids=case_id)
def test_the_host_waits_for_nothing(cls: type, options: dict, packed: bool) -> None:
    rnn = cls(2, 3, 3, **options)
    x: Any = torch.randn(3, 2, 2, *space(rnn, 3))
    x = pack_padded_sequence(x, torch.tensor([3, 2])) if packed else x

    def step() -> None:
        y = rnn(x)[0]
        (y.data if packed else y).sum().backward()
        with torch.inference_mode():
            rnn(x)

    with NoSync(x.batch_sizes if packed else None):
        step()


@pytest.mark.parametrize(("cls", "options"), two_dimensions_first(VARIANTS + MINIMAL), ids=case_id)
def test_no_step_reads_a_value(cls: type, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without data cannot be copied to the host, and no shape can depend on them."""
    rnn, calls = cls(2, 3, 3, num_layers=2, bidirectional=True, device="meta", **options), []
    forward = Direction.forward
    monkeypatch.setattr(Direction, "forward", lambda self, *args: calls.append(1) or forward(self, *args))
    for rnn.grad_checkpointing in (False, True):
        y, _ = rnn(torch.empty(5, 2, 2, *space(rnn, 3), device="meta"))
        y.sum().backward()
        assert all(p.grad is not None for p in rnn.parameters())
        with torch.inference_mode():
            rnn(torch.empty(5, 2, 2, *space(rnn, 3), device="meta"))
    assert bool(calls) != cls.is_linear  # the fused path ran


def test_waiting_is_detected() -> None:
    with NoSync(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        torch.ones(1).item()
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.ones(1, device="meta").cpu()
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.ones(1, device="meta").nonzero()
