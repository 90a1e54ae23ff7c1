"""Invalid hyper-parameters, inputs and states are rejected with a message that names the argument and its value."""

import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from convrnn_zoo import create_model, layers
from convrnn_zoo._checks import PADDING_MODES
from convrnn_zoo.layers.causallstm import CausalLSTMCell
from convrnn_zoo.layers.e3dlstm import E3DLSTMCell
from convrnn_zoo.layers.stlstm import STLSTMCell
from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    RECURRENT,
    SEQUENCES,
    assert_close,
    case_id,
    example,
    mapped,
    over_variants,
    space,
    tensors,
)

NAN = float("nan")
GOOD = {"in_channels": 4, "out_channels": 4, "kernel_size": 3}


# ---- hyper-parameters ----------------------------------------------------------------------------------------------
def test_numpy_numbers_are_valid():
    sizes = {"in_channels": np.int64(4), "out_channels": np.int32(6), "kernel_size": (np.int64(3), 5)}
    counts = {"num_layers": np.int64(2), "groups": np.uint8(2), "stride": np.int64(1)}
    layer = layers.Conv2dGRU(**sizes, **counts, dropout=np.float32(0.5), zoneout=np.float64(0.1))
    same = layers.Conv2dGRU(4, 6, (3, 5), num_layers=2, groups=2, dropout=0.5, zoneout=0.1)
    assert repr(layer) == repr(same)
    assert [p.shape for p in layer.parameters()] == [p.shape for p in same.parameters()]


@pytest.mark.parametrize("cls", CLASSES.values() if isinstance(CLASSES, dict) else CLASSES)
def test_sizes_by_the_names_of_torch_list_ours(cls):
    with pytest.raises(TypeError, match=rf"{cls.__name__}.*input_size.*in_channels.*out_channels.*kernel_size"):
        cls(input_size=3, hidden_size=4)
    with pytest.raises(TypeError, match=r"hidden_size.*in_channels"):
        cls(3, hidden_size=4)


@pytest.mark.parametrize("name", ["convlstm2d_1layer", "predrnn", "convlstm_forecaster"])
def test_sizes_of_models_by_the_names_of_torch_suggest_ours(name):
    with pytest.raises(TypeError, match=r"hidden_size.*hidden_channels"):
        create_model(name, hidden_size=4)


VALUES: list[tuple[str, list, list]] = [  # argument, values of a wrong type, invalid values
    ("in_channels", [NAN, True, "4", 4.0, np.float32(4), None], [0]),
    ("out_channels", [False, "44"], [-1]),
    ("kernel_size", [NAN, True, "33", None], [0, (), (3,) * 4]),
    ("hidden_kernel_size", ["3"], [-3]),
    ("stride", [NAN], [0, (1,) * 4]),
    ("dilation", [True], [0]),
    ("groups", ["2"], [0]),
    ("padding_mode", [], ["same", ("zeros",) * 4, 0, "wrap"]),
    ("bias", [1, None], []),
    ("dtype", [torch.int64, "float32"], []),
    ("num_layers", [True, 1.5], [0]),
    ("batch_first", [1], []),
    ("bidirectional", ["yes"], []),
    ("dropout", [True, "0.1"], [NAN, 1.5, -0.1]),
    ("nonlinearity", [], ["sigmoid", nn.ReLU()]),
    ("peephole", [], ["pixel"]),
    ("reset_after", [], [1, "no"]),
]
CASES: list[tuple[dict[str, Any], type[Exception], str]] = [  # arguments, error, names and values in the message
    ({name: value}, error, rf"^{name}\b.* {re.escape(repr(value))}")
    for name, *values in VALUES
    for error, bad in zip((TypeError, ValueError), values, strict=True)
    for value in bad
]
CASES += [
    ({"in_channels": 3, "groups": 2}, ValueError, "in_channels.*groups=2.* 3"),
    ({"out_channels": 5, "groups": 2}, ValueError, "out_channels.*groups=2.* 5"),
    ({"stride": 2, "padding_mode": "reflect"}, ValueError, r"stride=\(2.*padding_mode='reflect'"),
]
LISTS: list[tuple[dict[str, Any], type[Exception], str]] = [  # one entry a layer, which only layers take
    ({"out_channels": [4, 4]}, ValueError, "out_channels .* 2 .*expected 1"),
    ({"out_channels": [True]}, TypeError, r"out_channels\[0\].* True"),
    ({"out_channels": [5], "groups": 2}, ValueError, r"out_channels\[0\].*groups=2.* 5"),
    ({"out_channels": range(2, 4)}, TypeError, r"out_channels .*range\(2, 4\)"),
    ({"kernel_size": [(3,) * 4]}, ValueError, r"^kernel_size\[0\].*\(3, 3, 3, 3\)"),
    ({"hidden_kernel_size": [(1,), (1,), (1,)]}, ValueError, "hidden_kernel_size .* 3 .*expected 1"),
]


def takers(cases: list, classes: list[type]) -> list:
    """Each case for every class whose constructor has its parameters."""
    return [
        pytest.param(cls, *case, id=f"{cls.__name__}-{','.join(f'{k}={v!r}' for k, v in case[0].items())}")
        for case in cases
        for cls in classes
        if set(case[0]) <= set(inspect.signature(cls).parameters)
    ]


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("cls", "kwargs", "error", "message"), takers(CASES, CLASSES) + takers(LISTS, SEQUENCES))
def test_invalid_arguments(cls: type, kwargs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cls(**{**GOOD, **kwargs})


@pytest.mark.parametrize("name", ["kernel_size", "hidden_kernel_size", "stride", "dilation"])
@pytest.mark.parametrize("cls", RECURRENT, ids=case_id)
def test_every_axis_is_checked(cls: type, name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\[{cls.ndim - 1}\].* 3\.0"):
        cls(**{**GOOD, name: (3,) * (cls.ndim - 1) + (3.0,)})


@pytest.mark.parametrize("cls", [c for c in vars(layers).values() if isinstance(c, type) and c not in CLASSES])
def test_classes_without_dimension_list_their_subclasses(cls: type) -> None:
    with pytest.raises(TypeError, match="ndim"):
        cls(4, 4, 3)


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
@pytest.mark.parametrize(
    ("n", "error", "message"), [(0, ValueError, " 0"), (3, ValueError, "num_layers=2.* 3"), (True, TypeError, " True")]
)
def test_rejects_invalid_depths(cls: type, n: Any, error: type[Exception], message: str) -> None:
    rnn = cls(2, 3, 1, num_layers=2)
    before = list(rnn.state_dict())
    with pytest.raises(error, match=r"^n .*" + message):
        rnn.keep_layers(n)
    assert list(rnn.state_dict()) == before
    with pytest.raises(error, match=r"depth .*" + message):
        rnn.forward_layers(torch.zeros(1, 1, 2, *(2,) * cls.ndim), depth=n)


def test_cells_of_papers_reject_what_they_lack() -> None:
    for cell in (STLSTMCell, CausalLSTMCell):
        with pytest.raises(ValueError, match=r"^groups .* 2"):
            cell(4, 4, 3, groups=2)
    for kernel_size in ((2, 4, 4), (2, 5, 4), 2):
        with pytest.raises(ValueError, match=r"^kernel_size"):
            E3DLSTMCell(1, 4, kernel_size, map_size=8)


@pytest.mark.parametrize("arguments", [{"input_size": 6}, {"in_channels": 6, "out_channels": 8, "kernel_size": 3}])
def test_arguments_of_torch_nn_lstm_are_named_after_ours(arguments: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"in_channels.*out_channels.*kernel_size"):
        layers.Conv1dLSTM(**arguments, hidden_size=8)


# ---- inputs: how a good one is spoiled, the error, and the value that its message names ----------------------------
INPUTS: dict[str, tuple[Any, type[Exception], str]] = {
    "none": (lambda x: None, TypeError, "None"),
    "nested list": (lambda x: x.tolist(), TypeError, "(list)"),
    "array": (lambda x: x.numpy(), TypeError, "array("),
    "rank too high": (lambda x: x[None], ValueError, "(1, "),
    "rank too low": (lambda x: x.flatten(), ValueError, "1-D"),
    "integers": (lambda x: x.long(), TypeError, "torch.int64"),
    "double": (lambda x: x.double(), TypeError, "torch.float64"),
    "device": (lambda x: x.to("meta"), ValueError, "meta"),
    "empty last axis": (lambda x: x[..., :0], ValueError, ", 0)"),
}


def sized(*sizes: Any, **orders: Tensor) -> Any:
    return lambda data: PackedSequence(data, torch.tensor(sizes), **orders)


PACKED: dict[str, tuple[Any, type[Exception], str]] = {
    "rising": (sized(1, 2, 3), ValueError, "[1, 2, 3]"),
    "zero": (sized(3, 3, 0), ValueError, "[3, 3, 0]"),
    "wrong sum": (sized(3, 2), ValueError, "[3, 2]"),
    "no steps": (lambda d: sized()(d[:0]), ValueError, "[]"),
    "fractions": (sized(3.0, 3.0), ValueError, "[3.0, 3.0]"),
    "order": (sized(4, 2, sorted_indices=torch.tensor([1, 0])), ValueError, " sorted_indices for its 4 "),
    "rank": (lambda d: sized(3, 3)(d[..., 0]), ValueError, "(6, 2"),
    "channels": (lambda d: sized(3, 3)(torch.cat([d, d], 1)), ValueError, " 4"),
    "integers": (lambda d: sized(3, 3)(d.long()), TypeError, "torch.int64"),
}


def assert_rejected(module: nn.Module, error: type[Exception], value: str, *arguments: Any, name: str = "") -> None:
    with pytest.raises(error) as caught:
        module(*arguments)
    message = str(caught.value)
    assert re.match(rf"{type(module).__name__} .*{name}.*{re.escape(value)}", message, re.DOTALL), message
    assert len(message) < 400  # a value is shortened


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_inputs(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    assert_rejected(cls(2, 3, 3), error, value, spoil(example(cls, 2)))


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_packed_inputs(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    assert_rejected(cls(2, 3, 3), error, value, spoil(torch.randn(6, 2, *space(cls))))


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_channels(cls: type, unbatched: bool) -> None:
    x = example(cls, 5)
    x = x.select(-cls.ndim - 2, 0) if unbatched else x
    with pytest.raises(ValueError, match=rf" 2 .*axis {x.dim() - cls.ndim - 1} .* 5 .*in_channels"):
        cls(2, 3, 3)(x)


@pytest.mark.parametrize("cls", CELLS, ids=case_id)
def test_a_cell_takes_no_packed_sequence(cls: type) -> None:
    with pytest.raises(TypeError, match=r"Cell .*PackedSequence"):
        cls(2, 3, 3)(pack_padded_sequence(torch.randn(3, 2, 2, *space(cls)), [3, 2]))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_no_time_steps(cls: type, batch_first: bool) -> None:
    for lead in ((2, 0) if batch_first else (0, 2), (0,)):
        with pytest.raises(ValueError, match=r"time step.*\(.*\b0,"):
            cls(2, 3, 3, batch_first=batch_first)(torch.zeros(*lead, 2, *space(cls)))


@pytest.mark.sampled("cls")
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
def test_an_empty_batch_is_an_empty_result(cls: type, options: dict, mode: str) -> None:
    module, x = cls(2, 3, 3, padding_mode=mode, **options), example(cls, 2, batch=0)
    out = module(x)
    axis, of_one = 0 if cls in CELLS else 1, [v.shape for v in tensors(module(example(cls, 2, batch=1)))]
    assert [v.shape for v in tensors(out)] == [(*s[:axis], 0, *s[axis + 1 :]) for s in of_one]
    assert_close(module(x, out if cls in CELLS else out[1]), out, 0)
    torch.stack([v.sum() for v in tensors(out)]).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(
    ("mode", "kernel", "min_size"),
    [("reflect", 3, 2), ("reflect", 4, 3), ("reflect", 6, 4), ("circular", 4, 2), ("circular", 7, 3)],
)
@pytest.mark.parametrize(
    ("cls", "which"),
    [*((cls, "kernel_size") for cls in CLASSES), *((cls, "hidden_kernel_size") for cls in RECURRENT)],
    ids=case_id,
)
def test_a_map_too_small_for_its_padding(cls: type, which: str, mode: str, kernel: int, min_size: int) -> None:
    module = cls(2, 3, **{"kernel_size": 1, which: (1,) * (cls.ndim - 1) + (kernel,)}, padding_mode=mode)
    fits = example(cls, 2, size=min_size)[..., :min_size]
    assert next(tensors(module(fits))).shape[-1] == min_size
    message = rf"kernel .*{kernel},?\) .*padding_mode='{mode}' .* {min_size} .*axis {cls.ndim - 1}.* {min_size - 1}\b"
    with pytest.raises(ValueError, match=message):
        module(fits[..., 1:])


# ---- states --------------------------------------------------------------------------------------------------------
TWO_STATES = [cls for cls in CLASSES if len(cls.states) == 2]
TENSORS: dict[str, tuple[Any, type[Exception], str | None]] = {  # None: the message has the shape
    "batch": (lambda h: h.narrow(h.shape.index(2), 0, 1), ValueError, None),
    "channels": (lambda h: torch.cat([h, h], -h.dim() + 1), ValueError, None),
    "a map of one pixel would broadcast": (lambda h: h[..., :1], ValueError, None),
    "rank": (lambda h: h[None], ValueError, None),
    "double": (lambda h: h.double(), TypeError, "torch.float64"),
    "device": (lambda h: h.to("meta"), ValueError, "meta"),
    "number": (lambda h: 0.0, TypeError, "0.0"),
    "tuple": (lambda h: (h,), TypeError, "tuple"),
}
PAIRS: dict[str, tuple[Any, type[Exception], str]] = {
    "bare tensor": (lambda s: s[0], TypeError, "tensor of shape ("),
    "mapping": (lambda s: dict(zip("hc", s, strict=True)), TypeError, "(dict)"),
    "one": (lambda s: s[:1], ValueError, " 1 "),
    "three": (lambda s: (*s, s[0]), ValueError, " 3 "),
    "half a state": (lambda s: (s[0], None), TypeError, "None"),
}
LAYERED: dict[str, tuple[Any, type[Exception], str, str]] = {
    "a tensor": (lambda h: h[0], TypeError, "_0", "tensor of shape ("),
    "too few": (lambda h: h[:1], ValueError, "_0.* 2 layers", " 1"),
    "another order": (lambda h: h[::-1], ValueError, r"_0\[0\].*\(2, 2, 3,", "(2, 2, 4,"),
    "a layer missing": (lambda h: (h[0], None), TypeError, r"_0\[1\].*\(2, 2, 4,", "None"),
    "a layer in double": (lambda h: (h[0], h[1].double()), TypeError, r"_0\[1\]", "torch.float64"),
}


def make_state(module: nn.Module, x: Tensor) -> Any:
    out = module(x)
    return mapped(Tensor.detach, out[1] if type(module) in SEQUENCES else out)


@pytest.mark.sampled("cls")
@pytest.mark.parametrize(("spoil", "error", "value"), TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_a_tensor_of_the_state(cls: type, spoil: Any, error: type[Exception], value: str | None) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    state, name = make_state(module, x), cls.states[-1] + ("" if cls in CELLS else "_0")
    bad = spoil(state[1] if cls in TWO_STATES else state)
    hx = (state[0], bad) if cls in TWO_STATES else bad
    assert_rejected(module, error, str(tuple(bad.shape)) if value is None else value, x, hx, name=rf"\b{name}")


@pytest.mark.parametrize(("spoil", "error", "value"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("cls", TWO_STATES, ids=case_id)
def test_the_pair_of_states(cls: type, spoil: Any, error: type[Exception], value: str) -> None:
    module, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(module, error, value, x, spoil(make_state(module, x)), name=r"\bc(_0)?\b")


@pytest.mark.parametrize(("spoil", "error", "name", "value"), LAYERED.values(), ids=LAYERED)
@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_states_by_layer(cls: type, spoil: Any, error: type[Exception], name: str, value: str) -> None:
    rnn, x = cls(2, [3, 4], 3, num_layers=2, bidirectional=True), example(cls, 2)
    state = make_state(rnn, x)
    hx = (state[0], spoil(state[1])) if cls in TWO_STATES else spoil(state)
    assert_rejected(rnn, error, value, x, hx, name=rf"\b{cls.states[-1]}{name}")


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_batched_states_for_an_unbatched_input_and_the_other_way(cls: type) -> None:
    rnn, x = cls(2, 3, 3), example(cls, 2)
    assert_rejected(rnn, ValueError, "(1, 2, 3, ", x[:, 0], make_state(rnn, x), name=r"h_0.*\(1, 3, ")
    assert_rejected(rnn, ValueError, "(1, 3, ", x, make_state(rnn, x[:, 0]), name=r"h_0.*\(1, 2, 3, ")
