"""Base classes: the equations and parameters of a cell, the cell on one frame, and the layer over a sequence."""

import inspect
import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import _checks as check
from .._hints import some, warn
from . import _states
from ._conv import Geometry, check_map, compiled_conv, same_conv
from ._fused import find_path, run_layer
from ._in_place import InPlaceStep
from ._run import DirectionWeights, Loop, Maps, reference_step
from ._states import LayerStates

Size = int | Sequence[int]  # for all spatial axes, or one per axis
Widths = int | Sequence[int]  # for all layers, or one per layer
Kernels = Size | Sequence[Sequence[int]]  # for all layers, or a list of one tuple per layer
Rates = float | Sequence[float]  # for all states, or one per state
Modes = str | Sequence[str]  # for all spatial axes, or one per axis
READ_ONLY = {
    "in_channels",
    "out_channels",
    "kernel_size",
    "hidden_kernel_size",
    "stride",
    "dilation",
    "groups",
    "padding_mode",
    "bias",
    "bidirectional",
    "learn_initial_state",
    "num_layers",
}
"""Attributes that parameters and convolutions were built with, as with the `options`: a change would not reach them."""
SPACE = {1: "L", 2: "H, W", 3: "D, H, W"}
"""Names of the spatial axes in errors and docstrings, by the number of axes."""


class Constant(NamedTuple):
    """Shape of a parameter, and the constant value with which it is initialised."""

    shape: tuple[int, ...]
    value: float


class Equations(nn.Module):
    """Base class of cells and sequence layers: the equations of one step, and the parameters of these equations.

    A subclass sets the class attributes `ndim` (number of spatial axes), `gates` (number of gates) and `states` (names
    of the states, h first), and implements :meth:`step`.
    """

    ndim: ClassVar[int]  # number of spatial axes
    gates: ClassVar[int]  # number of gates in the rows of weight_ih
    states: ClassVar[tuple[str, ...]]
    summed: ClassVar[int | None] = None
    """Number of leading gates whose input and state contributions are added, or `None` for all.

    The remaining gates keep the two separate, input first. A GRU with gates r, z, n has ``summed = 2``: r multiplies
    only the state contribution to n, so that :meth:`step` receives a tuple of r and z in one tensor, and the two
    contributions to n.
    """
    returned: ClassVar[int | None] = None  # number of leading states that a step returns, None means all
    options: ClassVar[dict[str, tuple[Any, ...]]] = {}  # keyword arguments with their allowed values, the default first
    biases: ClassVar[tuple[str, ...]] = ("bias_ih", "bias_hh")
    is_linear: ClassVar[bool] = False
    """Whether the gates read the input only, so that a step is ``h' = f ⊙ h + b``, see :meth:`coefficients`."""
    has_groups: ClassVar[bool] = True  # whether the cell can be built with more than one group
    title: ClassVar[str] = ""  # for lists of models
    summary: ClassVar[str]  # docstring of classes that only add the dimension to their base
    in_place: ClassVar[type[InPlaceStep] | None] = None
    """In-place version of the step, or `None` to run :meth:`step` under ordinary autograd.

    A subclass that overrides `step`, `join`, `conv` or `advance` must set this attribute if it inherits one.
    """
    export_loop: Loop | None = None  # replaces the loop over time in a copy of the layer for export

    in_channels: int
    out_channels: Any
    bias: bool
    geometry: Geometry
    num_layers: int = 1
    takes_lists: ClassVar[bool] = False  # whether widths and kernels may be lists of one per layer
    num_directions: int = 1
    learn_initial_state: bool = False
    zoneout: tuple[float, ...]  # probability of each state that an element keeps its value in a step

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if len(cls.__bases__) > 1 or {"__init__", "options", "is_linear"} & vars(cls).keys():
            cls.__signature__ = _full_signature(cls)  # type: ignore[attr-defined]
        if hasattr(cls, "summary"):
            _complete_docstring(cls)
        functions = [getattr(cls, name) for name in ("step", "join", "conv", "advance")]
        if "in_place" in vars(cls):
            in_place: object = cls.in_place
            if in_place is not None and not (isinstance(in_place, type) and issubclass(in_place, InPlaceStep)):
                raise TypeError(f"{cls.__name__}.in_place must be None or a subclass of InPlaceStep")
            cls._in_place_functions = functions  # type: ignore[attr-defined]
        elif cls.in_place is not None and cls._in_place_functions != functions:  # type: ignore[attr-defined]
            raise TypeError(
                f"{cls.__name__} changes the step that its inherited in_place ({cls.in_place.__name__}) computes; set "
                "in_place = None in the class, or an InPlaceStep of the new step"
            )

    # ---- equations ---------------------------------------------------------------------------------------------
    def step(self, gates: Any, state: Maps, extra: Maps) -> Maps:
        """Computes the next state from the pre-activations of the gates, the state and the extra parameters."""
        raise NotImplementedError(f"{type(self).__name__} must implement step")

    def coefficients(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Computes f and b of a linear step ``h' = f ⊙ h + b`` from the pre-activations of the gates."""
        raise NotImplementedError(f"{type(self).__name__} must implement coefficients")

    def join(self, ih: Tensor, hh: Tensor) -> Any:
        """Adds input and state contributions. With `summed`, returns a tuple: the sums, then the other contributions.

        A gate without a state contribution has only the one of the input.
        """
        if self.summed is None:
            return ih + hh
        n = self.summed_rows(ih.shape[1])
        return (ih[:, :n] + hh[:, :n], ih[:, n:], *([hh[:, n:]] if hh.shape[1] > n else []))

    def summed_rows(self, rows: int) -> int:
        """Returns the number of rows of ``weight_ih`` whose gates add the input and state contributions."""
        return rows if self.summed is None else rows // self.gates * self.summed

    @property
    def sums_all_gates(self) -> bool:
        """True if every gate is the sum of an input and a state contribution."""
        return self.summed is None and not self.is_linear and type(self).join is Equations.join

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """Rearranges the weights for a step: `hh` keeps those that convolve h; other state weights go to `extra`."""
        return w

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, Any]:
        """Returns names and shapes of the parameters other than ``weight_ih``, ``weight_hh`` and their biases.

        `channels` is the number of output channels, `kernel` the size of the state-to-state kernel. A parameter that
        starts at a constant value has a :class:`Constant` in place of its shape.
        """
        return {}

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Computes the convolution ``weight * x + bias``, padded so that the size of the map does not change."""
        conv = compiled_conv if self.export_loop is None and torch.compiler.is_compiling() else same_conv
        return conv(x, weight, bias, self.geometry)

    def advance(self, x: Tensor, state: Maps, w: DirectionWeights) -> Maps:
        """Computes a complete step, convolutions included, on ``(N, C, *S)``; `w` is the result of :meth:`split`."""
        h = state[0] if w.h_mask is None else state[0] * w.h_mask[: len(state[0])]
        if w.xh is not None:
            gates = self.conv(torch.cat([x.to(w.xh.dtype), h], 1), w.xh, w.b_xh)
        elif self.is_linear:
            gates = self.conv(x, w.ih, w.b_ih)
        else:
            ih = x if w.ih is None else self.conv(x, w.ih, w.b_ih)
            gates = self.join(ih, self.conv(h, w.hh, w.b_hh))
        return self.step(gates, state, w.extra)

    @property
    def can_mask_h(self) -> bool:
        """True if `variational_dropout` can mask h, because the only convolution that reads h is in :meth:`advance`."""
        return not self.is_linear and self.has_common_advance

    @property
    def has_common_advance(self) -> bool:
        """True if the class has the :meth:`advance` of this base, which may get an input that is convolved already."""
        return type(self).advance is Equations.advance

    def __setattr__(self, name: str, value: Any) -> None:
        is_property = isinstance(getattr(type(self), name, None), property)
        is_built_with = name in READ_ONLY or name in type(self).options
        if is_built_with and (is_property or name in vars(self)):
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be changed, got {check.describe(value)}; build a new layer with "
                f"this {name}, and load the parameters into it if their shapes agree"
            )
        if name == "zoneout":
            value = check.probabilities(name, value, self.states)
            signature: inspect.Signature = type(self).__signature__  # type: ignore[attr-defined]
            if any(value) and (self.returned is not None or name not in signature.parameters):
                raise ValueError(f"zoneout is not supported by {type(self).__name__}, got {value}; leave it at 0")
        super().__setattr__(name, value)

    # ---- construction ------------------------------------------------------------------------------------------
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Before Python lists missing arguments, which does not help a caller who uses the names of torch.nn.RNN.
        # The constructor explains why layers without a state kernel do not support its size.
        cls._check_accepted(kwargs, {*cls.__signature__.parameters, "hidden_kernel_size"})  # type: ignore[attr-defined]
        return super().__new__(cls)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        bias: bool = True,
        stride: Size = 1,
        dilation: Size = 1,
        groups: int = 1,
        *,
        hidden_kernel_size: Size | None = None,
        padding_mode: Modes = "zeros",
        zoneout: Rates = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check.cell_class(type(self))
        self.in_channels = check.positive_int("in_channels", in_channels)
        self.bias = check.boolean("bias", bias)
        self.geometry = Geometry(
            check.ntuple("stride", stride, self.ndim),
            check.ntuple("dilation", dilation, self.ndim),
            check.positive_int("groups", groups),
            check.padding_modes("padding_mode", padding_mode, self.ndim),
        )
        self.stride, self.dilation, self.groups, modes, _ = self.geometry
        self.padding_mode = modes[0] if len({*modes}) == 1 else modes
        owner = type(self).__name__
        if groups != 1 and not self.has_groups:
            raise ValueError(f"groups must be 1 for {owner}, which does not support groups, got {groups}")
        if self.padding_mode != "zeros" and any(s > 1 for s in self.stride):
            raise ValueError(
                f"stride={self.stride} keeps the size of the map by padding it beyond its own size, which "
                f"padding_mode={padding_mode!r} cannot; use padding_mode='zeros' or stride=1"
            )
        if hidden_kernel_size is not None and self.is_linear:
            raise ValueError(
                f"hidden_kernel_size is not supported by {owner}, whose gates do not read the state, got "
                f"{check.describe(hidden_kernel_size)}; leave it out"
            )
        self._set_options(options)
        self.zoneout = zoneout  # type: ignore[assignment]  # converted by __setattr__, like other rates
        num_layers = self.num_layers if self.takes_lists else None
        self.widths = check.widths("out_channels", out_channels, num_layers)
        self.out_channels = self.widths[0] if check.is_int(out_channels) else tuple(self.widths)
        check.divisible(
            self.groups, in_channels=self.in_channels, **{f"out_channels[{i}]": w for i, w in enumerate(self.widths)}
        )
        self.kernels = check.kernels("kernel_size", kernel_size, self.ndim, num_layers)
        hidden = kernel_size if hidden_kernel_size is None else hidden_kernel_size
        self.hidden_kernels = check.kernels("hidden_kernel_size", hidden, self.ndim, num_layers)
        factory_kwargs = check.factory_kwargs(device, dtype)
        for layer, suffix in self._suffixes():
            for name, shape in self._parameter_shapes(layer).items():
                size = shape.shape if isinstance(shape, Constant) else shape
                self.register_parameter(name + suffix, nn.Parameter(torch.empty(size, **factory_kwargs)))
        self.reset_parameters()

    @classmethod
    def _check_accepted(cls, names: Iterable[str], accepted: Container[str]) -> None:
        """Raises TypeError for an argument of the constructor that is not `accepted`."""
        if unknown := next((name for name in names if name not in accepted), None):
            parameters = cls.__signature__.parameters.values()  # type: ignore[attr-defined]
            first = some(p.name for p in parameters if p.default is p.empty)
            raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {unknown!r}; it requires {first}")

    def _set_options(self, options: dict[str, Any]) -> None:
        """Checks and stores the options of the cell, on which the shapes of its parameters may depend."""
        self._check_accepted(options, self.options)
        for name, allowed in self.options.items():
            setattr(self, name, check.choice(name, options.get(name, allowed[0]), allowed))

    @property
    def kernel_size(self) -> Any:
        """Kernel of the input-to-state convolutions, or a list of one kernel per layer."""
        return self.kernels[0] if len(set(self.kernels)) == 1 else self.kernels

    @property
    def hidden_kernel_size(self) -> Any:
        """Kernel of the state-to-state convolutions, or a list of one kernel per layer."""
        return self.hidden_kernels[0] if len(set(self.hidden_kernels)) == 1 else self.hidden_kernels

    def _parameter_shapes(self, layer: int) -> dict[str, Any]:
        """Returns names and shapes of all parameters of one layer and direction in the form of :meth:`extra_shapes`."""
        in_chs = self.widths[layer - 1] * self.num_directions if layer else self.in_channels
        channels, kernel, groups = self.widths[layer], self.hidden_kernels[layer], self.groups
        rows, initial_states = self.gates * channels, self.states if self.learn_initial_state else ()
        return {
            "weight_ih": (rows, in_chs // groups, *self.kernels[layer]),
            **({} if self.is_linear else {"weight_hh": (rows, channels // groups, *kernel)}),
            **self.extra_shapes(channels, kernel),
            **(dict.fromkeys(self.biases, (rows,)) if self.bias else {}),
            **{f"initial_{name}": Constant((channels, *(1,) * self.ndim), 0.0) for name in initial_states},
        }

    def _weights(self, suffix: str, channels: int) -> DirectionWeights:
        def get(name: str) -> Any:  # an attribute, not always a parameter: pruning and parametrizing replace it
            return getattr(self, name + suffix, None)

        extra = tuple(map(get, self.extra_shapes(channels, (1,) * self.ndim)))
        ih, hh, b_ih, b_hh = map(get, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return self.split(DirectionWeights(ih, hh, b_ih, b_hh, extra))

    def _suffixes(self) -> list[tuple[int, str]]:
        """Returns a layer index and a suffix of parameter names, as ``(0, "_l0_reverse")``, per layer and direction."""
        return [(0, "")]

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """One list of parameters per layer and direction, as in torch.nn.RNNBase."""
        return [[getattr(self, name + s) for name in self._parameter_shapes(layer)] for layer, s in self._suffixes()]

    def _expect_plain(self, first: int = 0) -> None:
        """Raises RuntimeError if pruning or parametrizing replaced a parameter of layer `first` or a later one."""
        layers = [(layer, suffix) for layer, suffix in self._suffixes() if layer >= first]
        names = [name + suffix for layer, suffix in layers for name in self._parameter_shapes(layer)]
        if computed := [name for name in names if name not in self._parameters]:
            raise RuntimeError(
                f"{type(self).__name__}.{computed[0]} is pruned or parametrized; make it a parameter again with "
                "torch.nn.utils.prune.remove or torch.nn.utils.parametrize.remove_parametrizations"
            )

    def reset_parameters(self) -> None:
        """Samples parameters from U(-k, k), where ``1/k²`` is the fan-in of ``weight_hh``.

        The fan-in is ``out_channels / groups`` times the number of pixels of `hidden_kernel_size`. A cell without
        ``weight_hh`` uses the fan-in of ``weight_ih``. Scales of norms (``weight_norm…``) start at 1, shifts of norms
        (``bias_norm…``) and learned initial states at 0.
        """
        self._expect_plain()
        # torch.nn.RNN uses k = 1/sqrt(hidden_size), the fan-in of its state-to-state product. The fan-in of the
        # state-to-state convolution is larger by the taps of its kernel.
        for (layer, suffix), parameters in zip(self._suffixes(), self.all_weights, strict=True):
            weight = getattr(self, ("weight_ih" if self.is_linear else "weight_hh") + suffix)
            bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
            for p in parameters:
                nn.init.uniform_(p, -bound, bound)
            for name, shape in self._parameter_shapes(layer).items():
                if isinstance(shape, Constant):
                    nn.init.constant_(getattr(self, name + suffix), shape.value)
        for child in self.children():
            if isinstance(child, Equations):
                child.reset_parameters()

    # ---- printing ----------------------------------------------------------------------------------------------
    def changed_options(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, other than the sizes, whose values are not the defaults."""
        options = {}
        for name, p in type(self).__signature__.parameters.items():  # type: ignore[attr-defined]
            default = self.kernel_size if name == "hidden_kernel_size" else p.default
            value = getattr(self, name, default)
            is_default = value == default or (isinstance(value, tuple) and all(v == default for v in value))
            if not is_default and name not in ("in_channels", "out_channels", "channels", "kernel_size"):
                options[name] = value
        return options

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return text + "".join(f", {name}={value!r}" for name, value in self.changed_options().items())


def _complete_docstring(cls: Any) -> None:
    """Joins the docstrings of a class and its bases; for one that only sets `ndim`, `summary` and that of its base."""
    is_ours = cls.__module__.startswith(f"{__package__}.")
    if is_ours and not hasattr(cls, "ndim") and len(cls.__bases__) > 1 and (cls.__doc__ or "\n").startswith("\n"):
        cls.__doc__ = "\n\n".join(inspect.cleandoc(part.__doc__) for part in (*cls.__bases__, cls) if part.__doc__)
    elif cls.__doc__ is None and vars(cls).get("ndim") in SPACE and hasattr(base := cls.__mro__[1], "states"):
        state, h_0, h_n = (_states.format_names(cls.states, end) for end in ("", "_0", "_n"))
        name, space = base.__name__.removesuffix("Cell"), SPACE[cls.ndim]
        summary = cls.summary.format(ndim=cls.ndim, base=name, space=space, state=state, h_0=h_0, h_n=h_n)
        cls.__doc__ = f"{summary}\n\n{inspect.cleandoc(base.__doc__ or '')}".rstrip()


def _full_signature(cls: type[Equations]) -> inspect.Signature:
    """Returns the signature of the constructor with ``*args``, ``**kwargs`` and the options written out."""
    constructor, base = [b for b in cls.__mro__ if "__init__" in vars(b)][:2]
    declared = inspect.signature(constructor.__init__).parameters  # type: ignore[misc]
    named = {
        name: p for name, p in declared.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name != "self"
    }
    if len(named) + 1 < len(declared):
        if hasattr(base, "__signature__"):
            named |= {name: p for name, p in base.__signature__.parameters.items() if name not in named}
        for name, allowed in cls.options.items():
            annotation = bool if set(allowed) <= {True, False} else Literal[allowed]
            option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=allowed[0], annotation=annotation)
            named.setdefault(name, option)
    if cls.is_linear:
        named.pop("hidden_kernel_size", None)
    return inspect.Signature(sorted(named.values(), key=lambda p: p.kind))


Equations.__signature__ = _full_signature(Equations)  # type: ignore[attr-defined]


# ---- one frame -------------------------------------------------------------------------------------------------
class ConvRNNCellBase(Equations):
    """One step of a convolutional RNN, with the interface of :class:`torch.nn.RNNCellBase`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the state.
        kernel_size: kernel of the input-to-state convolution: an int for all axes, or one int per axis.
        bias: whether the gates have biases.
        stride, dilation, groups, hidden_kernel_size, padding_mode, zoneout, device, dtype: as for
            :class:`ConvRNNBase`.

    Shapes (``*S`` the spatial axes):
        input ``(N, C_in, *S)`` or ``(C_in, *S)``; every state ``(N, C_out, *S)`` or ``(C_out, *S)``.
    """

    summary = "One step of a {ndim}-d :class:`{base}` on ``(N, C, {space})``: ``{state} = cell(x, {state})``."

    def state_names(self, hx: Any) -> Sequence[str]:
        """Returns a name for each tensor in `hx`: more names than in `states` if the cell stores earlier steps."""
        return self.states

    def unpack_state(self, hx: Any, input: Tensor) -> Maps:
        """Checks the state `hx` and returns it as a tuple; None means zeros for maps of the size of `input`."""
        owner, names = type(self).__name__, self.state_names(hx)
        shape = (*input.shape[: -self.ndim - 1], self.out_channels, *input.shape[-self.ndim :])
        if hx is None:
            return (input.new_zeros(shape),) * len(names)
        parts = zip(names, _states.check_parts(owner, hx, names), strict=True)
        return tuple(_states.check_tensor(owner, name, part, shape, input) for name, part in parts)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Computes the next state, ``h`` or ``(h, c)``, from the current state `hx`, which is zero by default."""
        owner, n = type(self).__name__, self.ndim
        w, space = self._weights("", self.out_channels), SPACE[n]
        ranks = {n + 2: f"(N, C, {space})", n + 1: f"(C, {space})"}
        check.tensor_input(owner, "a tensor", input, ranks, self.in_channels, -n - 1, w.ih)
        for kernel in {self.kernel_size, self.hidden_kernel_size}:
            check_map(owner, input.shape[-n:], kernel, self.geometry)
        batched, state = input.dim() == n + 2, self.unpack_state(hx, input)
        if not batched:
            input, state = input.unsqueeze(0), tuple(s.unsqueeze(0) for s in state)
        dtype = w.ih.dtype  # that of the states as well, under autocast too
        input, state = input.to(dtype), tuple(s.to(dtype) for s in state)
        state = reference_step(self, input, state, w)
        if not batched:
            state = tuple(s.squeeze(0) for s in state)
        return state if len(state) > 1 else state[0]


# ---- a sequence ------------------------------------------------------------------------------------------------
class ConvRNNBase(Equations):
    """A convolutional RNN over sequences, with the interface of :class:`torch.nn.RNNBase`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the state: an int for all layers, or a list of one int per layer.
        kernel_size: kernel of the input-to-state convolution: an int for all axes, a tuple of one int per axis, or a
            list of one tuple per layer.
        num_layers: number of stacked layers.
        bias: whether the gates have biases.
        batch_first: whether input and output tensors are ``(N, T, …)``. States and packed sequences keep their layout.
        dropout: dropout probability of the output of each layer except the last, in training.
        bidirectional: whether a second set of weights reads the sequence from its end.
        stride, dilation, groups: arguments of every convolution. As in pytorch_convolutional_rnn, a stride s does not
            make the map smaller: input and state are padded to about s times their size.
            Groups divide the rows of ``weight_ih`` and ``weight_hh``, in which the gates are stacked: with
            ``groups=2`` the first half of the gates reads the first half of the channels. For a GRU with
            ``reset_after=False``, the rows r, z and the rows n of ``weight_hh`` are divided separately.
        hidden_kernel_size: kernel of the state-to-state convolutions; `kernel_size` by default.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``, or one of them per axis: on maps
            ``(H, W)`` of latitude and longitude, ``("zeros", "circular")`` joins the eastern and the western edge.
        learn_initial_state: whether the initial state for ``hx=None`` is learned. Every state, layer and direction then
            has a parameter such as ``initial_h_l0`` ``(C, 1, …)``. It has one value per channel, and all values start
            at zero.
        zoneout: probability p that an element of a state keeps its value in a step: a number, or one number per state
            (Krueger et al. 2017, https://arxiv.org/abs/1606.01305). If a step computes s' from s, the next state is
            ``d ⊙ s + (1 - d) ⊙ s'``. In training d is 1 with probability p, else 0, independently for each element and
            step. In evaluation d = p, the expectation. The h' of an LSTM is computed from c' before zoneout. Zoneout
            turns off the in-place implementation, so that each step is differentiated by autograd.
        variational_dropout: probability p of dropping channels in training: a number, or a pair ``(input, h)`` (Gal
            and Ghahramani 2016, https://arxiv.org/abs/1512.05287). The convolutions read ``m_x ⊙ x`` and ``m_h ⊙ h``.
            Each channel of a mask ``(N, C, 1, …)`` is 0 with probability p, else ``1 / (1 - p)``. The masks are the
            same at all steps of a call. Every sequence and layer has its own masks, and every direction its own
            ``m_h``. Only convolutions read the masked h: ``z ⊙ h`` of a GRU, for example, is not masked.
        device, dtype: of the parameters.

    Shapes (``D`` directions, ``*S`` the spatial axes, whose sizes do not change):
        The input is ``(T, N, C_in, *S)``, ``(N, T, C_in, *S)`` with batch_first, ``(T, C_in, *S)`` for a single
        sequence, or a :class:`~torch.nn.utils.rnn.PackedSequence`, sorted or not.
        The output is like the input, with ``D · C_out`` channels.
        Every state is ``(num_layers · D, N, C_out, *S)``, without N for a single sequence. The states of a packed input
        are in the order before packing. With a list as `out_channels`, a state is a tuple with one tensor
        ``(D, N, C_l, *S)`` per layer l.
        Output and states may be in channels-last memory format: use ``.reshape``, not ``.view``.

    Raises:
        TypeError, ValueError: an argument has the wrong type or is out of range.
    """

    summary = "{ndim}-d :class:`{base}` over ``(T, N, C, {space})``: ``output, {h_n} = rnn(input, {h_0})``."
    takes_lists = True
    dropout: float
    variational_dropout: Any  # a pair (input, h)

    def __init__(
        self,
        in_channels: int,
        out_channels: Widths,
        kernel_size: Kernels,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        stride: Size = 1,
        dilation: Size = 1,
        groups: int = 1,
        *,
        hidden_kernel_size: Kernels | None = None,
        padding_mode: Modes = "zeros",
        learn_initial_state: bool = False,
        zoneout: Rates = 0.0,
        variational_dropout: Rates = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        self.grad_checkpointing = False  # whether the backward pass recomputes segments of √T steps
        self.num_layers = check.positive_int("num_layers", num_layers)
        self.batch_first = check.boolean("batch_first", batch_first)
        self.dropout = dropout
        self.bidirectional = check.boolean("bidirectional", bidirectional)
        self.num_directions = 2 if bidirectional else 1
        self.learn_initial_state = check.boolean("learn_initial_state", learn_initial_state)
        if self.dropout and num_layers == 1:
            warn(  # as torch.nn.RNN does
                f"dropout={dropout} acts between layers, and num_layers=1: nothing will be dropped; use more layers, "
                "or nn.Dropout on the output"
            )
        super().__init__(
            in_channels,
            out_channels,  # type: ignore[arg-type]
            kernel_size,  # type: ignore[arg-type]
            bias,
            stride,
            dilation,
            groups,
            hidden_kernel_size=hidden_kernel_size,  # type: ignore[arg-type]
            padding_mode=padding_mode,
            zoneout=zoneout,
            device=device,
            dtype=dtype,
            **options,
        )
        self.variational_dropout = variational_dropout  # the options decide whether h can be masked

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dropout":
            value = check.probability(name, value)
        elif name == "variational_dropout":
            value = check.probabilities(name, value, ("input", "h"))
            if value[1] and not self.can_mask_h:
                raise ValueError(
                    f"variational_dropout of h is not supported by {type(self).__name__} with these options, because "
                    f"no single convolution reads h, got {value}; pass (p, 0.0) to drop input channels only"
                )
        super().__setattr__(name, value)

    def _suffixes(self) -> list[tuple[int, str]]:
        ends = ("", "_reverse")[: self.num_directions]
        return [(layer, f"_l{layer}{end}") for layer in range(self.num_layers) for end in ends]

    def flatten_parameters(self) -> None:
        """Does nothing; present for code written for torch.nn.RNN."""

    def keep_layers(self, n: int) -> None:
        """Keeps the first `n` layers and removes the others with their parameters."""
        check.depth("n", n, self.num_layers)
        self._expect_plain(n)
        for layer, suffix in self._suffixes():
            if layer >= n:
                for name in [p for p in self._parameters if p.endswith(suffix)]:
                    delattr(self, name)
        vars(self)["num_layers"] = n
        self.widths, self.kernels, self.hidden_kernels = self.widths[:n], self.kernels[:n], self.hidden_kernels[:n]
        if not check.is_int(self.out_channels):
            vars(self)["out_channels"] = tuple(self.widths)

    # ---- forward -----------------------------------------------------------------------------------------------
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        mask: Tensor | None = None,
        depth: int | None = None,
        collect: Callable[[Any], Any] | None = None,
    ) -> tuple[Any, Any]:
        """Returns ``(output, h_n)`` or ``(output, (h_n, c_n))``. Without `hx` the initial state is zero or learned.

        `mask` holds booleans in the shape of the first two axes of `input`, true at the existing steps of a sequence.
        At other steps the state of the sequence does not change and its output is zero. All T steps run, so that an
        exported graph does not depend on the lengths. `depth` is the number of layers to run, all by default.
        `collect` is called with the output of each layer; without it, each layer's output is freed after the next.
        If `hx` is a :class:`LayerStates`, so are the final states.
        """
        packed = input if isinstance(input, PackedSequence) else None
        x, batch_sizes, unbatched = self._unpack_input(input)
        steps = None if mask is None else self._unpack_mask(mask, input)
        x = x if steps is None else torch.where(steps, x, 0)  # else NaN in padding would reach the gradients
        initial, suffixes = self._unpack_state(hx, x, packed, unbatched), self._suffixes()
        output: Any = None
        finals: list[Maps] = []
        for layer in range(self.num_layers if depth is None else check.depth("depth", depth, self.num_layers)):
            first, width = layer * self.num_directions, self.widths[layer]
            each = slice(first, first + self.num_directions)
            weights = [self._weights(suffix, width) for _, suffix in suffixes[each]]
            if self.training and self.dropout and layer:
                x = F.dropout(x, self.dropout)
            if self.training and any(self.variational_dropout):
                x, weights = self._drop_channels(x, weights, width, batch_sizes)
            output = None  # frees the output of the layer before the last
            x, ends = run_layer(
                self,
                x,
                initial[each],
                weights,
                batch_sizes,
                mask=steps,
                zero_state=hx is None and not self.learn_initial_state,
                checkpointed=self.grad_checkpointing,
            )
            finals += ends
            if packed is not None:
                output = PackedSequence(x, *packed[1:])
            else:
                output = x.squeeze(1) if unbatched else x.transpose(0, 1) if self.batch_first else x
            if collect is not None:
                collect(output)
        finals = _states.reorder(finals, None if packed is None else packed.unsorted_indices)
        return output, finals if isinstance(hx, LayerStates) else _states.stack(self, finals, unbatched)

    def describe_path(self, input: Tensor) -> str:
        """Returns how the layer computes a tensor: by torch's ``"kernels"``, ``"in place"``, or as the ``"reference"``.

        Example:
            >>> from convrnn_zoo import Conv2dLSTM
            >>> x = torch.randn(4, 1, 3, 8, 8)
            >>> Conv2dLSTM(3, 2, 3).describe_path(x), Conv2dLSTM(3, 2, 3, zoneout=0.1).describe_path(x)
            ('in place', 'reference')
        """
        weights = [self._weights(suffix, self.widths[0]) for _, suffix in self._suffixes()[: self.num_directions]]
        path = find_path(self, input, weights)
        return "reference" if path is None else path.title

    def forward_layers(
        self, input: Tensor | PackedSequence, hx: Any = None, depth: int | None = None, mask: Tensor | None = None
    ) -> tuple[list[Any], Any]:
        """Runs the first `depth` layers or all of them, and returns the list of their outputs and the final states.

        Hooks of the layer receive the output of the last one, as in :meth:`forward`, and may replace it.
        """
        outputs: list[Any] = []
        # The list is hidden in a method: hooks of FSDP copy lists among the arguments.
        last, state = self(input, hx, mask=mask, depth=depth, collect=outputs.append)
        return [*outputs[:-1], last], state

    def _drop_channels(
        self, x: Tensor, weights: list[DirectionWeights], width: int, batch_sizes: list[int] | None
    ) -> tuple[Tensor, list[DirectionWeights]]:
        """Applies `variational_dropout`: masks channels of the input, and adds a mask of h to the weights."""
        n, spatial = x.shape[1] if batch_sizes is None else batch_sizes[0], (1,) * self.ndim
        input_rate, h_rate = self.variational_dropout
        if input_rate:
            mask = F.dropout(x.new_ones(n, x.shape[-self.ndim - 1], *spatial), input_rate)
            x = x * (mask if batch_sizes is None else torch.cat([mask[:size] for size in batch_sizes]))
        if h_rate:
            masks = [F.dropout(w.hh.new_ones(n, width, *spatial), h_rate) for w in weights]
            weights = [
                DirectionWeights(w.ih, w.hh, w.b_ih, w.b_hh, w.extra, mask)
                for w, mask in zip(weights, masks, strict=True)
            ]
        return x, weights

    def _unpack_input(self, input: Tensor | PackedSequence) -> tuple[Tensor, list[int] | None, bool]:
        """Returns the data, the batch sizes of packed data, and whether N was missing.

        The data are ``(T, N, C, *S)``, or ``(ΣT, C, *S)`` if packed. Without packing, the batch sizes are None.
        """
        owner, n, space = type(self).__name__, self.ndim, SPACE[self.ndim]
        like: Any = self.weight_ih_l0
        if isinstance(input, PackedSequence):
            batch_sizes, unbatched, ranks = check.packed_sizes(owner, input), False, {n + 2: f"packed (ΣT, C, {space})"}
            x = check.tensor_input(owner, "a tensor", input.data, ranks, self.in_channels, -n - 1, like)
        else:
            ranks = {n + 3: f"({'N, T' if self.batch_first else 'T, N'}, C, {space})", n + 2: f"(T, C, {space})"}
            expected = "a tensor or a PackedSequence"
            x = check.tensor_input(owner, expected, input, ranks, self.in_channels, -n - 1, like)
            batch_sizes, unbatched = None, x.dim() == n + 2
            x = x.unsqueeze(1) if unbatched else x.transpose(0, 1) if self.batch_first else x
            if x.shape[0] == 0:
                shape = tuple(input.shape)
                raise ValueError(f"{owner} expected at least one time step, got {shape}; drop empty sequences")
        for kernel in {*self.kernels, *self.hidden_kernels}:
            check_map(owner, x.shape[-n:], kernel, self.geometry)
        return x, batch_sizes, unbatched

    def _unpack_mask(self, mask: Tensor, input: Any) -> Tensor:
        """Checks a mask and returns it as ``(T, N, 1, …)``."""
        check.step_mask(type(self).__name__, mask, input, self.ndim)
        mask = mask.transpose(0, 1) if self.batch_first else mask
        return mask.reshape(*mask.shape, *(1,) * (self.ndim + 1))

    def _unpack_state(self, hx: Any, x: Tensor, packed: PackedSequence | None, unbatched: bool) -> list[Maps]:
        """Checks `hx` and returns a tuple of states per layer and direction, with sequences in the order of packing."""
        order = None if packed is None else packed.sorted_indices
        if isinstance(hx, LayerStates):
            return _states.reorder(hx, order)
        batch = x.shape[-self.ndim - 2] if packed is None else int(packed.batch_sizes[0])
        shapes = [(batch, width, *x.shape[-self.ndim :]) for width in self.widths]
        if hx is None:
            return [self._initial_state(suffix, x, shapes[layer]) for layer, suffix in self._suffixes()]
        return _states.reorder(_states.unstack(self, hx, shapes, x, unbatched), order)

    def _initial_state(self, suffix: str, like: Tensor, shape: Sequence[int]) -> Maps:
        """Returns the initial state, zero or learned, as an expanded view, which takes no memory."""
        if self.learn_initial_state:
            return tuple(getattr(self, f"initial_{name}{suffix}").expand(shape) for name in self.states)
        return (like.new_zeros(()).expand(shape),) * len(self.states)

    def initial_state(self, hx: Any) -> Any:
        """Returns the initial state, zero or learned, with the form and sizes of `hx`, a state of the layer."""
        h = hx[0] if len(self.states) > 1 else hx
        h = h if isinstance(h, Tensor) else h[0]
        unbatched = h.dim() == self.ndim + 2
        n, size = 1 if unbatched else h.shape[1], h.shape[-self.ndim :]
        shapes = [(n, width, *size) for width in self.widths]
        initial = [self._initial_state(suffix, h, shapes[layer]) for layer, suffix in self._suffixes()]
        return _states.stack(self, initial, unbatched)
