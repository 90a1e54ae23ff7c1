"""Contract of every nn.Module: pickling, copying, printing, dtypes, the meta device, checkpoints."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from convrnn_zoo import layers
from convrnn_zoo.layers.mau import MAUCell
from convrnn_zoo.layers.mim import MIMBlockCell
from convrnn_zoo.layers.motiongru import MotionHighwaySTLSTMCell
from tests.helpers.layers.oracles import (
    CELLS,
    CLASSES,
    SEQUENCES,
    case_id,
    example,
    over_variants,
    tensors,
)

EVERY = pytest.mark.parametrize(("cls", "options"), over_variants(CLASSES), ids=case_id)
KINDS = ("RNN", "LSTM", "PeepholeLSTM", "GRU", "MinGRU", "MinLSTM", "MinExpLSTM")


def assert_same_function(a: Callable[[Any], Any], b: Callable[[Any], Any], x: torch.Tensor) -> None:
    for mine, other in zip(tensors(a(x)), tensors(b(x)), strict=True):
        assert torch.equal(mine, other)


def test_the_family_is_complete() -> None:
    names = {f"Conv{n}d{kind}" for n in (1, 2, 3) for kind in KINDS}
    assert {cls.__name__ for cls in SEQUENCES} == names
    assert {cls.__name__ for cls in CELLS} == {name + "Cell" for name in names}
    assert {cls.__name__ for cls in CLASSES} < set(layers.__all__)


@EVERY
def test_pickle_and_torch_save(cls: type, options: dict) -> None:
    module, x = cls(2, 4, 3, groups=2, **options), example(cls, 2)
    assert_same_function(pickle.loads(pickle.dumps(module)), module, x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert_same_function(torch.load(file, weights_only=False), module, x)


@pytest.mark.sampled("cls")
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


CHANGES = {
    "in_channels": 4,
    "out_channels": 4,
    "kernel_size": (1, 1),
    "hidden_kernel_size": (1, 1),
    "stride": (2, 2),
    "dilation": (2, 2),
    "groups": 2,
    "padding_mode": "circular",
    "bias": False,
    "bidirectional": True,
    "num_layers": 2,
}


@pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for cls in (layers.Conv2dGRU, layers.Conv2dLSTMCell) for name in CHANGES][
        :-2
    ],  # a cell has one direction and one layer
)
def test_what_the_layer_was_built_with_cannot_be_changed(cls: type, name: str) -> None:
    module: Any = cls(2, 3, 3)
    before = repr(module), getattr(module, name)
    with pytest.raises(AttributeError, match=rf"{cls.__name__}\.{name}"):
        setattr(module, name, CHANGES[name])
    assert (repr(module), getattr(module, name)) == before


@pytest.mark.parametrize("cls", SEQUENCES, ids=case_id)
def test_options_of_a_cell_cannot_be_changed(cls: type) -> None:
    module: Any = cls(2, 3, 3)
    for name in (*cls.options, "learn_initial_state"):
        with pytest.raises(AttributeError, match=rf"{cls.__name__}\.{name}"):
            setattr(module, name, getattr(module, name))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: MotionHighwaySTLSTMCell(2, 3, 3), "zoneout"),
        (lambda: MIMBlockCell(2, 3, 3, map_size=4), "zoneout"),
        (lambda: MAUCell(3, 3, map_size=4), "zoneout"),
        (lambda: layers.Conv1dGRU(2, 3, 3, reset_after=False), "variational_dropout"),
        (lambda: layers.Conv1dMinGRU(2, 3, 3), "variational_dropout"),
    ],
)
def test_a_rate_that_a_layer_does_not_support_cannot_be_set(build: Callable[[], Any], name: str) -> None:
    module = build()
    setattr(module, name, 0.0)
    with pytest.raises(ValueError, match=rf"{name}.*{type(module).__name__}"):
        setattr(module, name, (0.0,) * (len(getattr(module, name)) - 1) + (0.5,))


@pytest.mark.parametrize("loaded", [copy.deepcopy, copy.copy, lambda rnn: pickle.loads(pickle.dumps(rnn))])
def test_copies_cannot_be_changed_either_and_keep_fewer_layers(loaded: Callable[[Any], Any]) -> None:
    rnn = loaded(layers.Conv2dGRU(2, [3, 4], 3, 2, padding_mode="circular", dilation=2))
    with pytest.raises(AttributeError, match="padding_mode"):
        rnn.padding_mode = "zeros"
    rnn.keep_layers(1)
    assert rnn.out_channels == (3,)


# ---- hooks -----------------------------------------------------------------------------------------------------
def run_with_hooks(module: Any, call: Callable[[], Any]) -> dict[str, list[Any]]:
    """Returns the arguments that each kind of hook of `module` received during a forward and a backward pass."""
    seen: dict[str, list[Any]] = {"pre": [], "forward": [], "backward pre": [], "backward": []}
    handles = [
        module.register_forward_pre_hook(lambda _, args: seen["pre"].append(args)),
        module.register_forward_hook(lambda _, args, output: seen["forward"].append(output)),
        module.register_full_backward_pre_hook(lambda _, grads: seen["backward pre"].append(grads)),
        module.register_full_backward_hook(lambda _, into, grads: seen["backward"].append((into, grads))),
    ]
    call().sum().backward()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("cls", [torch.nn.GRU, layers.Conv1dGRU, layers.Conv1dLSTM])
def test_hooks_of_a_layer_run_once_as_those_of_torch(cls: type) -> None:
    rnn = cls(2, 3, 2) if cls is torch.nn.GRU else cls(2, 3, 1, 2)
    x = torch.randn(*((4, 2, 2) if cls is torch.nn.GRU else (4, 2, 2, 5)), requires_grad=True)
    seen = run_with_hooks(rnn, lambda: rnn(x)[0])
    assert {name: len(calls) for name, calls in seen.items()} == dict.fromkeys(seen, 1)
    output, state = seen["forward"][0]
    assert isinstance(output, torch.Tensor)
    assert all(isinstance(t, torch.Tensor) for t in tensors(state))
    (into,), (first, *_) = seen["backward"][0]
    assert into.shape == x.shape
    assert first.shape == output.shape
