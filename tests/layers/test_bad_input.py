"""Invalid inputs are rejected, with a message that names a fix."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import CELLS, CLASSES, RECURRENT, SEQUENCES, assert_close, case_id, example, over_variants, space, tensors
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from convrnn_zoo.layers._checks import PADDING_MODES

Case = tuple[Callable[[Tensor], Any], type[Exception], str, str, str]

# how a good input is spoiled, the error, and what its message must tell: expected, got, cure
INPUTS: dict[str, Case] = {
    "none": (lambda x: None, TypeError, "expected a tensor", "got None", "torch.as_tensor"),
    "nested list": (lambda x: x.tolist(), TypeError, "expected a tensor", "... (list)", "torch.as_tensor"),
    "array": (lambda x: x.numpy(), TypeError, "expected a tensor", "got array(", "torch.as_tensor"),
    "list of tensors": (list, TypeError, "expected a tensor", "a list of", "torch.as_tensor"),
    "rank too high": (lambda x: x[None], ValueError, "expected input (", "-D (1, ", "add or drop an axis"),
    "rank too low": (lambda x: x.flatten(), ValueError, "expected input (", "got 1-D (", "add or drop an axis"),
    "scalar": (lambda x: x.sum(), ValueError, "expected input (", "got 0-D ()", "add or drop an axis"),
    "integers": (lambda x: x.long(), TypeError, "works in torch.float32", "is torch.int64", ".to(torch.float32)"),
    "booleans": (lambda x: x > 0, TypeError, "works in torch.float32", "is torch.bool", ".to(torch.float32)"),
    "double": (lambda x: x.double(), TypeError, "works in torch.float32", "is torch.float64", ".to(torch.float32)"),
    "complex": (lambda x: x + 0j, TypeError, "works in torch.float32", "is torch.complex64", ".to(torch.float32)"),
    "device": (lambda x: x.to("meta"), ValueError, "is on cpu", "input is on meta", "move one"),
    "empty last axis": (lambda x: x[..., :0], ValueError, "map of at least one pixel", ", 0)", "drop empty maps"),
}

ROWS = 6  # of the data of a packed sequence
PACK = "make it with torch.nn.utils.rnn.pack_padded_sequence"


def sized(*sizes: Any, **orders: Tensor) -> Callable[[Tensor], PackedSequence]:
    return lambda data: PackedSequence(data, torch.tensor(sizes), **orders)


PACKED: dict[str, Case] = {
    "rising": (sized(1, 2, 3), ValueError, "never rise", "got [1, 2, 3]", PACK),
    "zero": (sized(3, 3, 0), ValueError, "positive", "got [3, 3, 0]", PACK),
    "negative": (sized(7, -1), ValueError, "positive", "got [7, -1]", PACK),
    "wrong sum": (sized(3, 2), ValueError, "sum to its 6 rows", "got [3, 2]", PACK),
    "no steps": (lambda d: sized()(d[:0]), ValueError, "sum to its 0 rows", "got []", PACK),
    "fractions": (sized(3.0, 3.0), ValueError, "batch sizes", "got [3.0, 3.0]", PACK),
    "two axes": (sized([3, 3]), ValueError, "batch sizes", "got [[3, 3]]", PACK),
    "order": (
        sized(3, 3, sorted_indices=torch.tensor([1, 0])),
        ValueError, "sorted_indices for its 3 sequences", "got a tensor of shape (2,)", PACK,
    ),
    "way back": (
        sized(3, 3, sorted_indices=torch.arange(3), unsorted_indices=torch.arange(2)),
        ValueError, "unsorted_indices for its 3 sequences", "got a tensor of shape (2,)", PACK,
    ),
    "rank": (lambda d: sized(3, 3)(d[..., 0]), ValueError, "packed (ΣT, C,", "-D (6, 2", "add or drop an axis"),
    "integers": (lambda d: sized(3, 3)(d.long()), TypeError, "works in torch.float32", "is torch.int64", ".to(torch."),
    "device": (lambda d: sized(3, 3)(d.to("meta")), ValueError, "is on cpu", "input is on meta", "move one"),
    "no pixels": (lambda d: sized(3, 3)(d[..., :0]), ValueError, "at least one pixel", ", 0)", "drop empty maps"),
}  # fmt: skip


def assert_told(message: str, module: Any, *parts: str) -> None:
    assert re.match(".*".join(map(re.escape, (type(module).__name__, *parts[:2]))), message)
    assert parts[2] in message
    assert len(message) < 400


@pytest.mark.parametrize(("spoil", "error", "expected", "got", "cure"), INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_inputs(cls: type, spoil: Any, error: type[Exception], expected: str, got: str, cure: str) -> None:
    module = cls(2, 3, 3)
    with pytest.raises(error) as caught:
        module(spoil(example(cls, 2)))
    assert_told(str(caught.value), module, expected, got, cure)


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_channels(cls: type, unbatched: bool) -> None:
    module = cls(2, 3, 3)
    x = example(cls, 5)
    x = x.select(-cls.ndim - 2, 0) if unbatched else x
    axis = x.dim() - cls.ndim - 1
    with pytest.raises(ValueError, match=rf"expected 2 input channels at axis {axis} of .*, got 5 in .*in_channels=5"):
        module(x)


@pytest.mark.parametrize(("spoil", "error", "expected", "got", "cure"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_packed_inputs(cls: type, spoil: Any, error: type[Exception], expected: str, got: str, cure: str) -> None:
    module = cls(2, 3, 3)
    with pytest.raises(error) as caught:
        module(spoil(torch.randn(ROWS, 2, *space(cls))))
    assert_told(str(caught.value), module, expected, got, cure)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_packed_channels(cls: type) -> None:
    packed = PackedSequence(torch.randn(ROWS, 5, *space(cls)), torch.tensor([3, 3]))
    with pytest.raises(
        ValueError, match=r"expected 2 input channels at axis 1 of packed \(ΣT.*, got 5 in .*in_channels=5"
    ):
        cls(2, 3, 3)(packed)


@pytest.mark.parametrize("cls", CELLS, ids=case_id)
def test_a_cell_takes_no_packed_sequence(cls: type) -> None:
    packed = pack_padded_sequence(torch.randn(3, 2, 2, *space(cls)), [3, 2])
    with pytest.raises(TypeError, match=r"Cell expected a tensor, got a PackedSequence of 4: .*make a tensor"):
        cls(2, 3, 3)(packed)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_no_time_steps(cls: type, batch_first: bool) -> None:
    rnn = cls(2, 3, 3, batch_first=batch_first)
    shape = (2, 0) if batch_first else (0, 2)
    for lead in (shape, (0,)):
        with pytest.raises(ValueError, match=r"expected at least one time step, got \(.*; drop empty sequences"):
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


@pytest.mark.parametrize(
    ("mode", "kernel", "min_size"),
    [
        ("reflect", 3, 2), ("reflect", 4, 3), ("reflect", 5, 3), ("reflect", 6, 4),
        ("circular", 4, 2), ("circular", 5, 2), ("circular", 6, 3), ("circular", 7, 3),
    ],
)  # fmt: skip
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
    message = (
        rf"with kernel .*{kernel},?\) and padding_mode='{mode}' expected a map of at least {min_size} pixels along "
        rf"axis {cls.ndim - 1}, got {min_size - 1}; use padding_mode='zeros'"
    )
    with pytest.raises(ValueError, match=message):
        module(fits[..., 1:])
