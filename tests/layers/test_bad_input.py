"""Invalid inputs are rejected, with a message that names the layer and the value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from convrnn_zoo._checks import PADDING_MODES
from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    RECURRENT,
    SEQUENCES,
    assert_close,
    case_id,
    example,
    over_variants,
    space,
    tensors,
)

Case = tuple[Callable[[Tensor], Any], type[Exception], str]

# how a good input is spoiled, the error, and the value that its message names
INPUTS: dict[str, Case] = {
    "none": (lambda x: None, TypeError, "None"),
    "nested list": (lambda x: x.tolist(), TypeError, "(list)"),
    "array": (lambda x: x.numpy(), TypeError, "array("),
    "list of tensors": (list, TypeError, "list"),
    "rank too high": (lambda x: x[None], ValueError, "(1, "),
    "rank too low": (lambda x: x.flatten(), ValueError, "1-D"),
    "scalar": (lambda x: x.sum(), ValueError, "0-D"),
    "integers": (lambda x: x.long(), TypeError, "torch.int64"),
    "booleans": (lambda x: x > 0, TypeError, "torch.bool"),
    "double": (lambda x: x.double(), TypeError, "torch.float64"),
    "complex": (lambda x: x + 0j, TypeError, "torch.complex64"),
    "device": (lambda x: x.to("meta"), ValueError, "meta"),
    "empty last axis": (lambda x: x[..., :0], ValueError, ", 0)"),
}

ROWS = 6  # of the data of a packed sequence


def sized(*sizes: Any, **orders: Tensor) -> Callable[[Tensor], PackedSequence]:
    return lambda data: PackedSequence(data, torch.tensor(sizes), **orders)


PACKED: dict[str, Case] = {
    "rising": (sized(1, 2, 3), ValueError, "[1, 2, 3]"),
    "zero": (sized(3, 3, 0), ValueError, "[3, 3, 0]"),
    "negative": (sized(7, -1), ValueError, "[7, -1]"),
    "wrong sum": (sized(3, 2), ValueError, "[3, 2]"),
    "no steps": (lambda d: sized()(d[:0]), ValueError, "[]"),
    "fractions": (sized(3.0, 3.0), ValueError, "[3.0, 3.0]"),
    "two axes": (sized([3, 3]), ValueError, "[[3, 3]]"),
    "order": (sized(4, 2, sorted_indices=torch.tensor([1, 0])), ValueError, " sorted_indices for its 4 "),
    "way back": (
        sized(3, 3, sorted_indices=torch.arange(3), unsorted_indices=torch.arange(2)),
        ValueError,
        "unsorted_indices",
    ),
    "rank": (lambda d: sized(3, 3)(d[..., 0]), ValueError, "(6, 2"),
    "integers": (lambda d: sized(3, 3)(d.long()), TypeError, "torch.int64"),
    "device": (lambda d: sized(3, 3)(d.to("meta")), ValueError, "meta"),
    "no pixels": (lambda d: sized(3, 3)(d[..., :0]), ValueError, ", 0)"),
}


def check_message(message: str, module: Any, value: str) -> None:
    assert message.startswith(type(module).__name__)
    assert value in message
    assert len(message) < 400  # a value is shortened


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_inputs(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    module = cls(2, 3, 3)
    with pytest.raises(error) as caught:
        module(spoil(example(cls, 2)))
    check_message(str(caught.value), module, value)


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_channels(cls: type, unbatched: bool) -> None:
    module = cls(2, 3, 3)
    x = example(cls, 5)
    x = x.select(-cls.ndim - 2, 0) if unbatched else x
    axis = x.dim() - cls.ndim - 1
    with pytest.raises(ValueError, match=rf" 2 .*axis {axis} .* 5 .*in_channels"):
        module(x)


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_packed_inputs(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    module = cls(2, 3, 3)
    with pytest.raises(error) as caught:
        module(spoil(torch.randn(ROWS, 2, *space(cls))))
    check_message(str(caught.value), module, value)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_packed_channels(cls: type) -> None:
    packed = PackedSequence(torch.randn(ROWS, 5, *space(cls)), torch.tensor([3, 3]))
    with pytest.raises(ValueError, match=r" 2 .*axis 1 .* 5 .*in_channels"):
        cls(2, 3, 3)(packed)


@pytest.mark.parametrize("cls", CELLS, ids=case_id)
def test_a_cell_takes_no_packed_sequence(cls: type) -> None:
    packed = pack_padded_sequence(torch.randn(3, 2, 2, *space(cls)), [3, 2])
    with pytest.raises(TypeError, match=r"Cell .*PackedSequence"):
        cls(2, 3, 3)(packed)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_no_time_steps(cls: type, batch_first: bool) -> None:
    rnn = cls(2, 3, 3, batch_first=batch_first)
    shape = (2, 0) if batch_first else (0, 2)
    for lead in (shape, (0,)):
        with pytest.raises(ValueError, match=r"time step.*\(.*\b0,"):
            rnn(torch.zeros(*lead, 2, *space(cls)))


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
def test_an_empty_batch_is_an_empty_result(cls: type, options: dict, mode: str) -> None:
    """Compares with torch.nn; a state may be passed too, and the gradient is zero."""
    module = cls(2, 3, 3, padding_mode=mode, **options)
    x = example(cls, 2, batch=0)
    out = module(x)
    assert all(0 in v.shape for v in tensors(out))
    assert_close(module(x, out if cls in CELLS else out[1]), out, 0)
    torch.stack([v.sum() for v in tensors(out)]).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(
    ("mode", "kernel", "min_size"),
    [
        ("reflect", 3, 2),
        ("reflect", 4, 3),
        ("reflect", 5, 3),
        ("reflect", 6, 4),
        ("circular", 4, 2),
        ("circular", 5, 2),
        ("circular", 6, 3),
        ("circular", 7, 3),
    ],
)
@pytest.mark.parametrize(
    ("cls", "which"),
    [*((cls, "kernel_size") for cls in CLASSES), *((cls, "hidden_kernel_size") for cls in RECURRENT)],
    ids=case_id,
)
def test_a_map_too_small_for_its_padding(cls: type, which: str, mode: str, kernel: int, min_size: int) -> None:
    kwargs = {"kernel_size": 1, which: (1,) * (cls.ndim - 1) + (kernel,)}
    module = cls(2, 3, padding_mode=mode, **kwargs)
    fits = example(cls, 2, size=min_size)[..., :min_size]
    assert next(tensors(module(fits))).shape[-1] == min_size
    message = rf"kernel .*{kernel},?\) .*padding_mode='{mode}' .* {min_size} .*axis {cls.ndim - 1}.* {min_size - 1}\b"
    with pytest.raises(ValueError, match=message):
        module(fits[..., 1:])
