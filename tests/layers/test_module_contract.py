"""Contract of every nn.Module: pickling, copying, printing, dtypes, the meta device, checkpoints."""

import copy
import inspect
import io
import pickle
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from oracles import CELLS, CLASSES, SEQUENCES, assert_close, case_id, example, over_variants, space, tensors
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import PackedSequence

from convrnn_zoo import layers

EVERY = pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
EVERY_LAYER = pytest.mark.parametrize(("cls", "options"), over_variants(SEQUENCES), ids=case_id)
KINDS = ("RNN", "LSTM", "PeepholeLSTM", "GRU", "MinGRU", "MinLSTM", "MinExpLSTM")


def assert_same_function(a: Callable[[Any], Any], b: Callable[[Any], Any], x: torch.Tensor) -> None:
    for mine, other in zip(tensors(a(x)), tensors(b(x)), strict=True):
        assert torch.equal(mine, other)


def test_the_family_is_complete() -> None:
    names = {f"Conv{n}d{kind}" for n in (1, 2, 3) for kind in KINDS}
    assert {cls.__name__ for cls in SEQUENCES} == names
    assert {cls.__name__ for cls in CELLS} == {name + "Cell" for name in names}
    assert {cls.__name__ for cls in CLASSES} < set(layers.__all__)


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_class_names_match_dimension_and_base(cls: type) -> None:
    assert cls.__name__.startswith(f"Conv{cls.ndim}d")
    kind = getattr(layers, cls.__name__.replace(f"{cls.ndim}d", ""))
    assert issubclass(cls, kind)
    assert cls.__doc__
    assert all(part in kind.__doc__ for part in ("References:", "Args:", "Shapes"))


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_help_shows_the_whole_reference(cls: type) -> None:
    text = pydoc.plain(pydoc.render_doc(cls))
    assert all(part in text for part in ("References:", "Args:", "Shapes"))
    parameters = inspect.signature(cls).parameters
    assert not [name for name, p in parameters.items() if p.annotation is p.empty]
    for name, allowed in cls.options.items():
        annotation = parameters[name].annotation
        assert annotation in (bool, str) or get_args(annotation) == allowed


@EVERY
def test_pickle_and_torch_save(cls: type, options: dict) -> None:
    module, x = cls(2, 4, 3, groups=2, **options), example(cls, 2)
    assert_same_function(pickle.loads(pickle.dumps(module)), module, x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert_same_function(torch.load(file, weights_only=False), module, x)


@EVERY
def test_deepcopy_is_a_copy_with_its_own_weights(cls: type, options: dict) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)
    twin = copy.deepcopy(module)
    assert_same_function(twin, module, x)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(tensors(twin(x))), next(tensors(module(x))))


@EVERY
def test_state_dict_round_trip(cls: type, options: dict, tmp_path: Path) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)
    other, from_file = cls(2, 3, 3, **options), cls(2, 3, 3, **options)
    assert not torch.equal(next(tensors(other(x))), next(tensors(module(x))))
    other.load_state_dict(module.state_dict(), strict=True)
    assert_same_function(other, module, x)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "layer.safetensors")
    from_file.load_state_dict(safetensors.torch.load_file(tmp_path / "layer.safetensors"), strict=True)
    assert_same_function(from_file, module, x)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 5e-2)], ids=str)
@EVERY
def test_dtypes(cls: type, options: dict, dtype: torch.dtype, tolerance: float) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)
    expected = module(x)
    moved = list(tensors(module.to(dtype)(x.to(dtype))))
    assert {v.dtype for v in moved} == {dtype}
    assert_close([v.float() for v in moved], expected, tolerance)
    assert {p.dtype for p in cls(2, 3, 3, dtype=dtype, **options).parameters()} == {dtype}


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@EVERY
def test_meta_device_gives_the_shapes(cls: type, options: dict, mode: str) -> None:
    x = example(cls, 2)
    real, meta = (cls(2, 3, 3, padding_mode=mode, device=device, **options) for device in ("cpu", "meta"))
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    shapes = list(tensors(meta(x.to("meta"))))
    assert [v.shape for v in shapes] == [v.shape for v in tensors(real(x))]
    assert {v.device.type for v in shapes} == {"meta"}
    assert [p.shape for p in meta.to_empty(device="cpu").parameters()] == [p.shape for p in real.parameters()]


@EVERY_LAYER
def test_meta_device_takes_packed_sequences(cls: type, options: dict) -> None:
    rnn = cls(2, 3, 3, bidirectional=True, device="meta", **options)
    data = torch.randn(5, 2, *space(cls), device="meta")
    output, state = rnn(PackedSequence(data, torch.tensor([3, 2])))
    assert output.data.shape == (5, 6, *space(cls))
    assert {h.shape for h in tensors(state)} == {(2, 3, 3, *space(cls))}


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_meta_device_checks_its_input_too(cls: type) -> None:
    with pytest.raises(TypeError, match=r"torch\.float32.*input.*torch\.float64"):
        cls(2, 3, 3, device="meta")(example(cls, 2, dtype=torch.float64, device="meta"))


@EVERY
def test_weights_may_be_parametrized_or_pruned(cls: type, options: dict) -> None:
    module, x = cls(2, 3, 3, **options), example(cls, 2)
    hidden = next(n for n in module.state_dict() if n.startswith("weight_ih" if cls.is_linear else "weight_hh"))
    state = module(x) if cls in CELLS else module(x)[1]
    expected = module(x, state)
    weight_norm(module, hidden)  # the same function, of a direction and a length
    assert_close(module(x, state), expected, 1e-6)
    other = cls(2, 3, 3, **options)
    prune.identity(other, hidden)
    getattr(other, hidden + "_mask").zero_()
    without = cls(2, 3, 3, **options)
    without.load_state_dict({k.removesuffix("_orig"): v for k, v in other.state_dict().items() if "_mask" not in k})
    getattr(without, hidden).data.zero_()
    assert_same_function(lambda x: other(x, state), lambda x: without(x, state), x)


def unusual(cls: type) -> list[dict[str, Any]]:
    """Arguments none of which is the default."""
    one = {"bias": False, "dilation": 2, "groups": 2, **({} if cls.is_linear else {"hidden_kernel_size": 5})}
    one |= {option: values[-1] for option, values in cls.options.items()}
    if cls in CELLS:
        return [{**one, "padding_mode": "replicate"}, {**one, "stride": 2}]
    one |= {"num_layers": 2, "batch_first": True, "dropout": 0.25, "bidirectional": True}
    lists = {"out_channels": [4, 2], "kernel_size": [(3,) * cls.ndim, (1,) * cls.ndim]}
    return [{**one, "padding_mode": "replicate"}, {**one, "stride": 2}, {**one, **lists}]


@pytest.mark.parametrize("cls", CLASSES, ids=case_id)
def test_a_printed_layer_can_be_built_again(cls: type) -> None:
    plain = cls(2, 4, 3)
    assert repr(plain) == f"{cls.__name__}(2, 4, kernel_size={(3,) * cls.ndim})"
    for arguments in unusual(cls):
        module = cls(**{"in_channels": 2, "out_channels": 4, "kernel_size": 3, **arguments})
        shown = repr(module)
        assert all(f"{key}=" in shown for key in arguments if key != "out_channels")
        again = eval(shown, vars(layers))  # the strongest reading of "shows its options"
        assert repr(again) == shown
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in module.state_dict().items()
        }
        again.load_state_dict(module.state_dict())
        assert_same_function(again.eval(), module.eval(), example(cls, 2))
