"""Checks of arguments and inputs. Every message states the problem, the expected value and a fix."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ._autocast import has_autocast
from ._hints import similar

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def is_int(value: object) -> TypeGuard[int]:
    """Returns True for an int or NumPy integer that is not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def describe(value: object) -> str:
    """Describes a value in an error message: the shape of a tensor, the value of anything else."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} ({value.dtype}, {value.device})"
    if isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value):
        return f"a {type(value).__name__} of {len(value)}: " + ", ".join(map(describe, value))
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def positive_int(name: str, value: object) -> int:
    """Checks a positive int or NumPy integer and returns it as an int."""
    if not is_int(value):
        raise TypeError(f"{name} must be a positive int, got {describe(value)}; pass a whole number such as {name}=1")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}; pass a positive whole number")
    return int(value)


def whole_number(name: str, value: object) -> int:
    """Checks an int or NumPy integer and returns it as an int."""
    if not is_int(value):
        raise TypeError(f"{name} must be a whole number, got {describe(value)}; pass an int")
    return int(value)


def number(name: str, value: object, positive: bool = False) -> float:
    """Checks that an int, float or NumPy number is finite (and above 0 if `positive`); returns it as a float."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {describe(value)}; pass a float such as {name}=1.0")
    if not math.isfinite(value) or (positive and value <= 0):
        raise ValueError(f"{name} must be a finite number{' above 0' if positive else ''}, got {value}")
    return float(value)


def boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {describe(value)}; pass a bool")
    return value


def probability(name: str, value: object) -> float:
    """Checks that an int, float or NumPy number is from 0 to 1; returns it as a float."""
    if not 0 <= number(name, value) <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, got {value}; 0 switches it off")
    return float(value)  # type: ignore[arg-type]


def probabilities(name: str, value: object, names: Sequence[str]) -> tuple[float, ...]:
    """Returns one probability for each of `names`, from a sequence or from one number for all."""
    if not isinstance(value, list | tuple):
        return (probability(name, value),) * len(names)
    if len(value) != len(names):
        raise ValueError(f"{name} must be a number or {len(names)} of them ({', '.join(names)}), got {describe(value)}")
    return tuple(probability(f"{name}[{i}]", v) for i, v in enumerate(value))


def choice(name: str, value: object, allowed: Sequence[Any]) -> Any:
    if not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
        hint = similar(value, [a for a in allowed if isinstance(a, str)])
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {describe(value)}{hint}")
    return value


def padding_modes(name: str, value: object, n: int) -> tuple[str, ...]:
    """Returns one padding mode per axis, from a sequence or from one mode for all axes."""
    modes: list[Any] = list(value) if isinstance(value, list | tuple) else [value] * n
    if len(modes) != n:
        allowed = f"{', '.join(map(repr, PADDING_MODES))}, or a sequence of {n} of them (one per spatial axis)"
        raise ValueError(f"{name} must be one of {allowed}, got {describe(value)}")
    return tuple(choice(name, mode, PADDING_MODES) for mode in modes)


def ntuple(name: str, value: object, n: int) -> tuple[int, ...]:
    """Returns one positive int per axis, from a sequence or from one int for all axes."""
    if is_int(value):
        return (positive_int(name, value),) * n
    expected = f"an int or {n} ints (one per spatial axis)"
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name} must be {expected}, got {describe(value)}; pass one int for all")
    if len(value) != n:
        raise ValueError(f"{name} must be {expected}, got {len(value)}: {tuple(value)!r}; pass one int for all")
    return tuple(positive_int(f"{name}[{i}]", v) for i, v in enumerate(value))


def sizes(name: str, value: object) -> tuple[int, ...]:
    """Checks an int, or a list or tuple of ints of any length, and returns a tuple of positive ints."""
    return ntuple(name, value, len(value) if isinstance(value, list | tuple) and value else 1)


def _per_layer(name: str, values: Sequence[Any], what: str, num_layers: int) -> list[tuple[str, Any]]:
    """Checks that a list has one entry per layer, and returns the name and value of each entry."""
    if len(values) != num_layers:
        raise ValueError(
            f"{name} lists {len(values)} {what}, expected {num_layers}; give one per layer or level, or one int for all"
        )
    return [(f"{name}[{i}]", value) for i, value in enumerate(values)]


def kernels(name: str, value: object, n: int, num_layers: int | None) -> list[tuple[int, ...]]:
    """Returns one kernel per layer, from one kernel or a list of tuples. A cell has ``num_layers=None``."""
    if num_layers and isinstance(value, list | tuple) and value and all(isinstance(v, list | tuple) for v in value):
        return [ntuple(*entry, n) for entry in _per_layer(name, value, "kernels", num_layers)]
    return [ntuple(name, value, n)] * (num_layers or 1)


def widths(name: str, value: object, num_layers: int | None) -> list[int]:
    """Returns one number of channels per layer, from an int or a list of ints. A cell has ``num_layers=None``."""
    if num_layers is None:
        return [positive_int(name, value)]
    if isinstance(value, list | tuple):
        return [positive_int(*entry) for entry in _per_layer(name, value, "widths", num_layers)]
    if not is_int(value):
        expected = "a positive int, or a list with one for each layer"
        hint = f"pass a whole number, or a list such as {name}={[1] * num_layers}"
        raise TypeError(f"{name} must be {expected}, got {describe(value)}; {hint}")
    return [positive_int(name, value)] * num_layers


def depth(name: str, value: object, num_layers: int) -> int:
    """Checks and returns a number of layers to use, which is at most `num_layers`."""
    n = positive_int(name, value)
    if n > num_layers:
        raise ValueError(f"{name} must be at most num_layers={num_layers}, got {n}; ask for fewer layers")
    return n


def factory_kwargs(device: Any, dtype: object) -> dict[str, Any]:
    """Checks `dtype` and returns `device` and `dtype` as keyword arguments. Torch reports an invalid device itself."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {describe(dtype)}; pass torch.float32")
    return {"device": device, "dtype": dtype}


def divisible(groups: int, **channels: int) -> None:
    for name, value in channels.items():
        if value % groups:
            raise ValueError(f"{name} must be divisible by groups={groups}, got {value}; change {name} or groups")


def cell_class(cls: Any) -> None:
    """Checks the class attributes that define a cell or layer."""
    name, example = cls.__name__, {"ndim": "ndim = 2", "gates": "gates = 4", "states": 'states = ("h", "c")'}
    if not hasattr(cls, "ndim") and cls.__subclasses__():
        raise TypeError(
            f"{name} expected a class that has a dimension (ndim), got none; build one of "
            + ", ".join(sub.__name__ for sub in cls.__subclasses__())
        )
    for attribute, line in example.items():
        if not hasattr(cls, attribute):
            raise TypeError(f"{name} must define the class attribute {attribute}; add a line such as {line}")
    choice(f"{name}.ndim", cls.ndim, (1, 2, 3))
    positive_int(f"{name}.gates", cls.gates)
    states, summed = cls.states, cls.summed
    if not isinstance(states, tuple | list) or not states or not all(isinstance(s, str) for s in states):
        wrong = f"{name}.states must be a tuple of at least one name, got {describe(states)}"
        raise TypeError(f"{wrong}; write it as in {example['states']}")
    if summed is not None and not (is_int(summed) and 0 < summed <= cls.gates):
        raise ValueError(f"{name}.summed must be None or an int from 1 to gates={cls.gates}, got {describe(summed)}")


def new_state(cls: Any, new: object, old: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns the state that a step has computed, as a tuple, after checking its type, length and channels."""
    names = cls.states[: cls.returned]
    if not isinstance(new, (tuple, list)):
        raise TypeError(
            f"a step of {cls.__name__} must return a tuple ({', '.join(names)}{',' * (len(names) == 1)}), "
            f"got {describe(new)}; return a tuple even if it holds one tensor"
        )
    if len(new) < len(names):
        raise ValueError(
            f"a step of {cls.__name__} must return {len(names)} tensors ({', '.join(names)}), got {len(new)}; "
            "return one for each name in states"
        )
    for i, name in enumerate(names):  # torch 2.6 compiles no zip of unequal lengths
        tensor, before = new[i], old[i]
        if not isinstance(tensor, Tensor):
            raise TypeError(f"a step of {cls.__name__} must return a tensor as {name}, got {describe(tensor)}")
        if tensor.dim() != before.dim() or tensor.shape[1] != before.shape[1]:
            raise ValueError(
                f"a step of {cls.__name__} must return {name} with the shape of the state, {tuple(before.shape)}, "
                f"got {tuple(tensor.shape)}; check the number of gates"
            )
    return tuple(new)


def tensor_input(
    owner: str,
    expected: str,
    x: object,
    ranks: dict[int, str],
    in_channels: int,
    axis: int,
    like: Tensor,
    name: str = "input",
) -> Tensor:
    """Checks and returns an input. `ranks` maps numbers of axes to layouts; `axis` < 0 is the axis of the channels."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner} expected {expected}, got {describe(x)}; make a tensor with torch.as_tensor")
    if x.dim() not in ranks:
        layouts = " or ".join(f"{layout} ({rank}-D)" for rank, layout in ranks.items())
        raise ValueError(f"{owner} expected {name} {layouts}, got {x.dim()}-D {tuple(x.shape)}; add or drop an axis")
    named = "" if name == "input" else f"{name} "
    if x.shape[axis] != in_channels:
        raise ValueError(
            f"{owner} expected {in_channels} input channels at axis {axis % x.dim()} of {named}{ranks[x.dim()]}, "
            f"got {x.shape[axis]} in {tuple(x.shape)}; permute the input or build with in_channels={x.shape[axis]} "
            f"(a model with in_chans={x.shape[axis]})"
        )
    if any(s == 0 for s in x.shape[axis + 1 :]):
        raise ValueError(f"{owner} expected a map of at least one pixel, got {named}{tuple(x.shape)}; drop empty maps")
    device_and_dtype(owner, name, x, like)
    return x


def device_and_dtype(owner: str, name: str, x: Tensor, like: Tensor) -> None:
    """Checks that `x` has the device and dtype of `like`. Under autocast, any floating-point dtype is valid."""
    if x.device != like.device:
        raise ValueError(f"{owner} is on {like.device} but {name} is on {x.device}; move one with .to(...)")
    if x.dtype == like.dtype:
        return
    if not (has_autocast(like.device.type) and x.is_floating_point()):
        hint = "scale it to the values of training" if x.dtype == torch.uint8 else f"convert one with .to({like.dtype})"
        raise TypeError(f"{owner} works in {like.dtype} but {name} is {x.dtype}; {hint}")


def packed_sizes(owner: str, packed: PackedSequence) -> list[int]:
    """Checks a PackedSequence, which users can construct freely, and returns the batch size of every step."""
    sizes, rows = packed.batch_sizes.tolist(), len(packed.data)
    integers = packed.batch_sizes.dim() == 1 and packed.batch_sizes.dtype == torch.int64
    wrong = None
    if not sizes or not integers or sizes != sorted(sizes, reverse=True) or sizes[-1] < 1 or sum(sizes) != rows:
        wrong = f"whose batch sizes are positive, never rise and sum to its {rows} rows, got {sizes}"
    for name, order in zip(packed._fields[2:], packed[2:], strict=True):
        if wrong is None and order is not None and tuple(order.shape) != (sizes[0],):
            wrong = f"with {name} for its {sizes[0]} sequences, got {describe(order)}"
    if wrong is not None:
        raise ValueError(f"{owner} expected a PackedSequence {wrong}; use torch.nn.utils.rnn.pack_padded_sequence")
    return sizes


def step_mask(owner: str, mask: object, input: Any, ndim: int) -> None:
    """Checks a mask of the existing steps of a batch of padded sequences of `ndim`-d maps."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"{owner} expected mask to be a tensor of booleans, got {describe(mask)}")
    if isinstance(input, PackedSequence) or input.dim() != ndim + 3:
        raise ValueError(f"{owner} takes a mask only with a batch of padded sequences; leave the mask out")
    if mask.shape != input.shape[:2]:
        wrong = f"{owner} expected mask of shape {tuple(input.shape[:2])}, got {tuple(mask.shape)}"
        raise ValueError(f"{wrong}; give one boolean per sequence and step")
