"""No architecture waits for the device in a forward pass, or copies from the host, so that a CUDA graph can record it.

Tensors on the device "meta" have no values: an operation that reads one fails.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import convrnn_zoo
from tests.helpers.registry import slow_unless, without_known_inputs

NAMES = convrnn_zoo.list_models()
QUICK = ("convgru2d_bi_2layer", "minconvlstm1d_1layer", "utae_convgru", "utae_uconvlstm", "convlstm_forecaster", "mau")


class NoCopy(TorchDispatchMode):
    """Rejects operations on tensors of both the host and the device, and on tensors that no operation computed.

    The latter are made from Python values, as by ``torch.tensor`` and indexing with a list, which copy from the host.
    `known` are the tensors that exist before.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {id(t): t for t in known}  # holds them, so that no other tensor gets the same id

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for t in inputs:
            assert t.device.type == "cpu" or id(t) in self.known, f"{func} reads a tensor that was copied to the device"
        out = func(*args, **(kwargs or {}))
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        devices = {t.device.type for t in [*inputs, *outputs] if t.dim() or copies}
        assert len(devices) <= 1, f"{func} works on tensors of {devices}"
        self.known.update((id(t), t) for t in outputs)
        return out


def build(name: str, device: str) -> tuple[torch.nn.Module, Tensor]:
    """Returns a model on a device, and frames of the size for which it is registered."""
    model = convrnn_zoo.create_model(name, device=device, **without_known_inputs(name)).eval()
    ndim = getattr(model, "ndim", 2)
    size = (8, 8, 8) if ndim == 3 else model.pretrained_cfg["input_size"][-ndim:]
    return model, torch.empty(2, 4, model.in_chans, *size, device=device)


@pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, NAMES))
def test_no_architecture_reads_or_copies(name: str) -> None:
    model, x = build(name, "meta")
    with torch.no_grad(), NoCopy([x, *model.parameters(), *model.buffers()]):
        outputs = tree_leaves(model(x))
    assert {y.device.type for y in outputs} == {"meta"}


@pytest.mark.needs("cuda_without_card")
@pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, NAMES))
def test_outputs_of_every_architecture_are_on_the_gpu(name: str) -> None:
    """Runs without a card, on tensors that only have shapes."""
    model, x = build(name, "meta")
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with FakeTensorMode(), torch.no_grad():
        x, *moved = (torch.empty(t.shape, dtype=t.dtype, device="cuda") for t in (x, *tensors.values()))
        outputs = tree_leaves(functional_call(model, dict(zip(tensors, moved, strict=True)), (x,)))
    assert {y.device.type for y in outputs} == {"cuda"}


@pytest.mark.parametrize(
    "copy",
    [
        lambda x: x[[0, 1]],
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x + torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x + torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(2)),
    ],
)
def test_copies_are_detected(copy: Any) -> None:
    x = torch.empty(2, device="meta")
    with NoCopy([x]), pytest.raises(AssertionError):
        copy(x)


@pytest.mark.parametrize("read", [lambda x: x.item(), lambda x: x.tolist(), lambda x: bool(x.any()), lambda x: x.cpu()])
def test_reading_is_detected(read: Any) -> None:
    x = torch.empty(1, device="meta")
    with NoCopy([x]), pytest.raises((NotImplementedError, RuntimeError)):
        read(x)
