"""What every cell and every sequence layer shares: hyper-parameters, parameters, one step."""

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from . import _checks as check
from ._conv import Geometry, same_conv
from ._inplace import InPlaceStep

Size = int | Sequence[int]
"""One for all spatial axes, or one an axis."""
SPACE = {1: "L", 2: "H, W", 3: "D, H, W"}
"""What errors and docstrings call the axes of a map, by their number."""


class DirectionWeights(NamedTuple):
    """The parameters of one layer in one direction; `extra` are those that only some kinds of cell have."""

    ih: Tensor
    hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    extra: tuple[Tensor, ...]


class Equations(nn.Module):
    """A kind of cell: its equations, and what follows from them for parameters and state.

    A subclass says how many `gates` stand in ``weight_ih``, which `states` it carries (h first), which
    `options` it takes (the first value is the default), and writes :meth:`step`. Everything else is here.
    """

    ndim: ClassVar[int]
    gates: ClassVar[int]
    summed: ClassVar[int | None] = None
    """How many of the gates, the first ones, are the sum of an input and a state part; None for all.

    Of the others, which stand behind them, come first the input's part, then the state's, if it has one.
    """
    states: ClassVar[tuple[str, ...]]
    returned: ClassVar[int | None] = None
    """Number of leading `states` that a step returns. `None` means all."""
    options: ClassVar[dict[str, tuple[Any, ...]]] = {}
    _usual: ClassVar[dict[str, Any]] = {}
    """The defaults of the arguments that only layers, or only cells, have: printing leaves them out."""
    has_groups: ClassVar[bool] = True
    """Whether the cell can be built with more than one group."""
    title: ClassVar[str] = ""
    """The kind in a few words, for lists of models."""
    in_place: ClassVar[type[InPlaceStep] | None] = None
    """The step and its derivative written down in place; a kind without works by autograd of :meth:`step`."""

    in_channels: int
    out_channels: Any
    kernel_size: Any
    bias: bool
    geometry: Geometry

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__signature__ = _whole_signature(cls)  # type: ignore[attr-defined]

        def provider(name: str) -> int:
            return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))

        if min(map(provider, ("step", "join", "conv", "advance"))) < provider("in_place"):
            cls.in_place = None  # written down for another law

    # ---- the equations -------------------------------------------------------------------------------------
    def step(self, gates: Tensor, state: tuple[Tensor, ...], extra: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next state from the gates' pre-activations, the state, and the extra parameters."""
        raise NotImplementedError(f"{type(self).__name__} must write down its step")

    def join(self, ih: Tensor, hh: Tensor) -> Tensor:
        """The pre-activations from their input part and their state part, along the channels (axis 1)."""
        if self.summed is None:
            return ih + hh
        n = self.summed_rows(ih.shape[1])
        return torch.cat([ih[:, :n] + hh[:, :n], ih[:, n:], hh[:, n:]], dim=1)

    def summed_rows(self, rows: int) -> int:
        """How many of the `rows` of ``weight_ih`` are of gates that are sums."""
        return rows if self.summed is None else rows // self.gates * self.summed

    def split(self, w: DirectionWeights) -> DirectionWeights:
        """The weights as a step takes them: `hh` for the convolution of h, the rest among `extra`."""
        return w

    def extra_shapes(self, channels: int, kernel: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters beyond weights and biases; `kernel` is state-to-state.

        Those of norms are ``weight_norm…``, which start as 1, and ``bias_norm…``, which start as 0.
        """
        return {}

    # ---- the parts of a step -------------------------------------------------------------------------------
    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``weight * x + bias``, the map keeping its size."""
        return same_conv(x, weight, bias, self.geometry)

    def advance(self, x: Tensor, state: tuple[Tensor, ...], w: DirectionWeights) -> tuple[Tensor, ...]:
        """One complete step on ``(N, C, *S)``; `w` is the result of :meth:`split`."""
        return self.step(self.join(self.conv(x, w.ih, w.b_ih), self.conv(state[0], w.hh, w.b_hh)), state, w.extra)

    def _checked_advance(self, x: Tensor, state: tuple[Tensor, ...], w: DirectionWeights) -> tuple[Tensor, ...]:
        """Runs :meth:`advance` and checks the state that it returns."""
        return check.new_state(type(self), self.advance(x, state, w), state)

    # ---- construction --------------------------------------------------------------------------------------
    def _configure(
        self, in_channels: int, bias: bool, stride: Size, dilation: Size, groups: int, padding_mode: str
    ) -> None:
        check.cell_class(type(self))
        self.in_channels = check.positive_int("in_channels", in_channels)
        self.bias = check.boolean("bias", bias)
        self.geometry = Geometry(
            check.ntuple("stride", stride, self.ndim),
            check.ntuple("dilation", dilation, self.ndim),
            check.positive_int("groups", groups) if self.has_groups else check.one_group(type(self).__name__, groups),
            check.choice("padding_mode", padding_mode, check.PADDING_MODES),
        )
        self.stride, self.dilation, self.groups, self.padding_mode = self.geometry
        if padding_mode != "zeros" and any(s > 1 for s in self.stride):
            raise ValueError(
                f"stride={self.stride} keeps the size of the map by padding it beyond its own size, which "
                f"padding_mode={padding_mode!r} cannot; use padding_mode='zeros' or stride=1"
            )

    def _choose(self, **options: Any) -> None:
        """Checks and keeps the cell's own options: before the parameters, whose shapes may ask for them."""
        for name, value in options.items():
            setattr(self, name, check.choice(name, value, self.options[name]))

    @property
    def space(self) -> str:
        """The spatial axes by name, for messages."""
        return SPACE[self.ndim]

    def _add_parameters(
        self, suffix: str, in_channels: int, channels: int, kernel: tuple[int, ...], hidden_kernel: tuple[int, ...],
        factory: dict[str, Any],
    ) -> None:  # fmt: skip
        rows, groups = self.gates * channels, self.groups
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, in_channels // groups, *kernel),
            "weight_hh": (rows, channels // groups, *hidden_kernel),
            **self.extra_shapes(channels, hidden_kernel),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, **factory)))

    def _weights(self, suffix: str, channels: int) -> DirectionWeights:
        def named(name: str) -> Any:  # an attribute, not always a parameter: pruning and parametrizing replace it
            return getattr(self, name + suffix, None)

        extra = tuple(map(named, self.extra_shapes(channels, (1,) * self.ndim)))
        ih, hh, b_ih, b_hh = map(named, ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        return self.split(DirectionWeights(ih, hh, b_ih, b_hh, extra))

    def _init_uniform(
        self, parameters: Iterator[nn.Parameter] | Sequence[nn.Parameter], channels: int, taps: int
    ) -> None:
        # torch.nn.RNN starts from U(-k, k) with k = 1/sqrt(hidden_size), the fan-in of its state-to-state product.
        # The state-to-state convolution has a fan-in larger by the taps of its kernel: the same law.
        bound = 1 / math.sqrt(channels // self.groups * taps)
        for p in parameters:
            nn.init.uniform_(p, -bound, bound)

    def _start_norms(self) -> None:
        """The norms of a step, ``weight_norm…`` and ``bias_norm…``, start as 1 and 0."""
        for name, p in self.named_parameters():
            own = name.rpartition(".")[2]
            if own.startswith(("weight_norm", "bias_norm")):
                nn.init.constant_(p, own.startswith("weight"))

    # ---- printing ------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        one, kernel = (1,) * self.ndim, self.kernel_size
        usual = {"hidden_kernel_size": kernel, **self._usual, "bias": True, "stride": one, "dilation": one, "groups": 1}
        usual |= {"padding_mode": "zeros", **{name: allowed[0] for name, allowed in self.options.items()}}
        shown = {name: value for name, default in usual.items() if (value := getattr(self, name)) != default}
        return f"{self.in_channels}, {self.out_channels}, kernel_size={kernel}" + "".join(
            f", {name}={value!r}" for name, value in shown.items()
        )


def _whole_signature(cls: type) -> inspect.Signature:
    """Of the constructor, with the arguments that it passes on as ``*args`` and ``**kwargs`` written out."""
    constructor, base = [b for b in cls.__mro__ if "__init__" in vars(b)][:2]
    own = inspect.signature(constructor.__init__).parameters  # type: ignore[misc]
    named = {name: p for name, p in own.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name != "self"}
    if len(named) + 1 < len(own) and hasattr(base, "__signature__"):
        named |= {name: p for name, p in base.__signature__.parameters.items() if name not in named}
    return inspect.Signature(sorted(named.values(), key=lambda p: p.kind))
