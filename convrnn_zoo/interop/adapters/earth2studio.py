"""Forecasters as prognostic models of earth2studio: https://nvidia.github.io/earth2studio"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..._extras import need
from ...layers import _checks as check
from ...models import Forecaster

Coords = OrderedDict[str, Any]
"""Coordinates by dimension, as NumPy arrays."""


class Prognostic(nn.Module):
    """A forecaster with the interface of earth2studio's prognostic models, for ``earth2studio.run.deterministic``.

    The model reads the last `history` fields of each variable and forecasts the next one, step by step: its forecast is
    appended to the input. Values are in the unit of the model's data.

    Args:
        model: a forecaster with ``model.preprocessing``, with as many input as output channels, and without static and
            future inputs.
        variables: names of the channels in earth2studio, such as ``"t2m"``.
        latitudes, longitudes: coordinates of the rows and columns of the maps.
        step: time step in hours; by default the one of the model's preprocessing.
        history: number of input fields; by default as many as in training.

    Raises:
        ValueError: the model is no such forecaster, or a size does not fit it.
        ImportError: NumPy is not installed.

    Shapes:
        fields ``(…, history, variables, latitudes, longitudes)``; the leading dimensions, such as the initial times and
        the members of an ensemble, are kept.

    Example:
        >>> import convrnn_zoo, numpy as np
        >>> model = convrnn_zoo.create_model("convgru_forecaster", in_chans=2, hidden_channels=[4, 4]).eval()
        >>> model.preprocessing = convrnn_zoo.Preprocessing(encoding="log", unit="mm/h", floor=0.1, top=60.0)
        >>> lat, lon = np.linspace(40, 50, 16), np.linspace(0, 10, 16)
        >>> prognostic = Prognostic(model, ["tp", "sp"], lat, lon, step=6, history=3)
        >>> coords = prognostic.input_coords()
        >>> coords["batch"] = np.arange(1)
        >>> y, coords = prognostic(torch.rand(1, 3, 2, 16, 16), coords)
        >>> tuple(y.shape), coords["lead_time"].astype("timedelta64[h]")
        ((1, 1, 2, 16, 16), array([6], dtype='timedelta64[h]'))
    """

    def __init__(
        self, model: nn.Module, variables: Sequence[str], latitudes: Any, longitudes: Any, *, step: float | None = None,
        history: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        np = need("numpy", "cli")
        values = model.preprocessing if isinstance(model, Forecaster) else None
        if values is None or model.known_chans or model.in_chans != model.out_chans:
            raise ValueError(
                "expected a forecaster with model.preprocessing, with equal input and output channels, and without "
                f"static or future inputs, got {type(model).__name__}; take trained weights or set model.preprocessing"
            )
        if len(variables) != model.in_chans:
            raise ValueError(f"variables must name the model's {model.in_chans} channels, got {list(variables)}")
        hours = step if step is not None else values.step / 60 if isinstance(values.step, int | float) else None
        history = values.inputs if history is None else history
        if hours is None or history is None:
            raise ValueError("the model does not state its time step and input frames; pass step= and history=")
        check.number("step", hours, positive=True)
        if isinstance(values.step, int | float) and abs(hours * 60 - values.step) > 1e-6 * values.step:
            raise ValueError(f"the model's step is {values.step / 60:g} h, got step={hours:g}; leave step out")
        self.model: Any = model
        self.history = check.positive_int("history", history)
        self.dt = np.timedelta64(round(hours * 3600), "s")
        self.domain = OrderedDict(
            variable=np.array(variables), lat=np.asarray(latitudes, float), lon=np.asarray(longitudes, float)
        )
        self.front_hook = self.rear_hook = _unchanged

    def input_coords(self) -> Coords:
        """Returns the coordinates of an input. The dimension ``batch`` means any leading dimensions."""
        np = need("numpy", "cli")
        lead = np.array([-i * self.dt for i in reversed(range(self.history))])
        return OrderedDict(batch=np.empty(0), lead_time=lead, **self.domain)

    def output_coords(self, input_coords: Coords) -> Coords:
        """Returns the coordinates of the next fields.

        Raises:
            ValueError: variables, latitudes, longitudes or the spacing of the lead times are not those of the model.
        """
        np = need("numpy", "cli")
        for name, expected in self.domain.items():
            if name not in input_coords or not _equal(np, input_coords[name], expected):
                raise ValueError(f"coords[{name!r}] must be those of the model; select them with map_coords")
        lead, expected = input_coords["lead_time"], self.input_coords()["lead_time"]
        if len(lead) != self.history or not (lead - lead[-1] == expected).all():
            raise ValueError(f"expected {self.history} fields {self.dt} apart, got the lead times {lead}")
        return OrderedDict(input_coords, lead_time=lead[-1:] + self.dt)

    @torch.inference_mode()
    def __call__(self, x: Tensor, coords: Coords) -> tuple[Tensor, Coords]:
        """Returns the next fields ``(…, 1, variables, latitudes, longitudes)`` and their coordinates."""
        output = self.output_coords(coords)
        frames = x.flatten(0, -5) if x.dim() > 4 else x[None]
        y = self.model.forecast(frames, 1, inputs=self.history)
        return y.reshape(*x.shape[:-4], *y.shape[1:]), output

    def create_iterator(self, x: Tensor, coords: Coords) -> Iterator[tuple[Tensor, Coords]]:
        """Yields the last input field, then one forecast after another, each with its coordinates."""
        coords = OrderedDict(coords)
        self.output_coords(coords)
        yield x[..., -1:, :, :, :], OrderedDict(coords, lead_time=coords["lead_time"][-1:])
        while True:
            x, coords = self.front_hook(x, coords)
            y, output = self(x, coords)
            y, output = self.rear_hook(y, output)
            yield y, output
            x = torch.cat([x[..., 1:, :, :, :], y], -4)
            coords = OrderedDict(output, lead_time=coords["lead_time"] + self.dt)


def _unchanged(x: Tensor, coords: Coords) -> tuple[Tensor, Coords]:
    return x, coords


def _equal(np: Any, actual: Any, expected: Any) -> bool:
    actual = np.asarray(actual)
    if actual.shape != expected.shape:
        return False
    return bool((actual == expected).all() if expected.dtype.kind == "U" else np.allclose(actual, expected))
