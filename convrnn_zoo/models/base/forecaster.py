"""Base classes of forecasters: input checks, and forecasts in the unit of the data."""

from collections.abc import Callable, Iterator, Sequence
from functools import partialmethod
from typing import Any, ClassVar, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import _checks as check
from ..._hints import suggest, warn
from ...values.labels.axes import CHANNEL, MEMBER, Layout, axis_coordinate, find_pixel_km, warn_of_oblong_pixels
from ...values.labels.forecast import describe_conversions, label_forecast
from ...values.labels.form import align, choose_variable, is_data_array, is_labelled, normal_form, stack, to_units
from ...values.labels.times import at_times, check_step, extend_times, find_step, get_times
from ...values.preprocessing import Preprocessing
from ...values.steps import Step, check_same
from ...values.tensors import to_tensor
from ...values.units import plural
from .blocks import Unshuffle
from .model import ZooModel, evaluating, reference_tensor

Inputs = int | Literal["all"] | None
"""Number of the latest frames that a forecast reads; None for as many as in training."""

FRAME_CFG: dict[str, Any] = {"input_size": (1, 64, 64), "pool_size": None, "classifier": ()}
"""timm's cfg of a forecaster for frames with one channel and 64×64 pixels, as in Moving MNIST."""


def check_no_classes(num_classes: object) -> None:
    """Raises ValueError unless `num_classes` is 0."""
    if num_classes != 0:
        raise ValueError(f"num_classes must be 0, got {num_classes!r}: a forecaster has no classifier; leave it out")


class Forecaster(ZooModel):
    """Base class of models that read frames ``(N, T, C, H, W)`` and forecast the next, ``(N, horizon, C, H, W)``.

    A call may have any horizon, and any number of input frames unless `input_frames` fixes it. Height and width must be
    multiples of `reduction`. A call reads and returns values as in training, such as logits for a cross-entropy loss;
    :meth:`forecast` takes and returns frames in the unit of the data.

    A model may also read *known inputs*: static maps that do not change, such as elevation, and future inputs that are
    known for the forecast frames as well, such as the time of day. Pass them as ``model(x, horizon, static=static,
    future=future)``, with `static` ``(N, S, H, W)`` and `future` ``(N, T + horizon, F, H, W)``. The first T steps of
    `future` belong to the input frames. N, H or W may be 1 if the values are equal along that axis.

    Args:
        in_chans: channels of an input frame.
        horizon: frames to forecast by default.
        reduction: height of a frame divided by that of the smallest map.
        num_classes: must be 0; timm passes the argument to every model.
        out_chans: channels of a forecast frame; `in_chans` by default.
        static_chans, future_chans: channels S of the static maps, and F of the future inputs; 0 for none.
    """

    fixed_args = ("reduction",)
    num_classes = 0
    num_features: int
    """Input channels of the last convolution."""
    default_step: ClassVar[float | None] = None
    """Default number of minutes between frames, for models that read this number as an input; None for others."""
    input_frames: int | None = None
    """Number of input frames, if the weights fix it; None if it is free."""
    feature_info: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Feature maps for timm: empty, because the maps of a forecaster do not belong to single frames."""

    def __init__(
        self,
        in_chans: int,
        horizon: int,
        reduction: int,
        num_classes: int = 0,
        out_chans: int | None = None,
        static_chans: int = 0,
        future_chans: int = 0,
    ) -> None:
        super().__init__()
        check_no_classes(num_classes)
        self.in_chans = check.positive_int("in_chans", in_chans)
        self.out_chans = self.in_chans if out_chans is None else check.positive_int("out_chans", out_chans)
        self.static_chans = check.positive_int("static_chans", static_chans) if static_chans else 0
        self.future_chans = check.positive_int("future_chans", future_chans) if future_chans else 0
        self.known_chans = self.static_chans + self.future_chans
        self.horizon = check.positive_int("horizon", horizon)
        self.reduction = check.positive_int("reduction", reduction)
        self.grad_checkpointing = False

    def forward_intermediates(self, *args: Any, option: str = "forward_intermediates", **kwargs: Any) -> Any:
        """Raises ValueError that names `option`, because forecasters have no feature maps to return."""
        owner = type(self).__name__
        raise ValueError(
            f"{option} needs feature maps, which a forecaster ({owner}) does not have; use a sequence model"
        )

    prune_intermediate_layers = partialmethod(forward_intermediates, option="features_only")
    forward_features = partialmethod(forward_intermediates, option="forward_features")
    forward_head = partialmethod(forward_intermediates, option="forward_head")

    @property
    def head_hidden_size(self) -> int:
        """Input channels of the last convolution, which is the head of a forecaster."""
        return self.num_features

    def get_classifier(self) -> nn.Module:
        """Returns an identity: a forecaster has no classifier."""
        return nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Does nothing if `num_classes` is 0; raises ValueError for other numbers, and for a `global_pool`."""
        check_no_classes(num_classes)
        if global_pool:
            raise ValueError(f"global_pool must be left out: a forecaster has no pool, got {global_pool!r}")

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters without weight decay: peepholes, norms per pixel, learned initial states."""
        peepholes = {n for n, p in self.named_parameters() if p.dim() == 3 and n.split(".")[-1].startswith("weight_p")}
        return super().no_weight_decay() | peepholes

    # ---- forecasts in the unit of the data ---------------------------------------------------------------------
    @overload
    def forecast(
        self,
        frames: Tensor,
        horizon: int | None = None,
        *,
        static: Any = None,
        future: Any = None,
        inputs: Inputs = None,
        batch_size: int = 16,
    ) -> Tensor: ...
    @overload
    def forecast(
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        static: Any = None,
        future: Any = None,
        inputs: Inputs = None,
        batch_size: int = 16,
    ) -> Any: ...
    @torch.no_grad()
    def forecast(
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        static: Any = None,
        future: Any = None,
        inputs: Inputs = None,
        batch_size: int = 16,
    ) -> Any:
        """Forecasts the frames that follow, in the unit of the data; maps may be of any size.

        Mark unknown values as NaN or in a NumPy masked array; :class:`~convrnn_zoo.Preprocessing` describes how NaN is
        encoded. A pixel that is unknown in all frames that the model reads is NaN in the forecast. Maps whose size is
        no multiple of `reduction` are padded for the network. The call runs in evaluation mode; call ``eval()`` before
        several threads forecast at once. Values out of the expected range give a warning.

        Args:
            frames: ``(T, H, W)`` of one channel, ``(T, C, H, W)`` or ``(N, T, C, H, W)``; a tensor, a NumPy array, or a
                DataArray or Dataset of xarray, which may have `time` at any position; its ``units`` are converted.
            horizon: frames to forecast; by default the model's `horizon`.
            static: static maps ``(S, H, W)`` or ``(N, S, H, W)``, if the model reads any.
            future: future inputs ``(T + horizon, F, H, W)`` or ``(N, T + horizon, F, H, W)``, if the model reads any.
                The first T steps belong to the input frames. H and W of `static` and `future` may be 1.
            inputs: number of the latest frames to read, or ``"all"``. By default ``preprocessing.inputs``, the number
                in training; fewer frames give a warning. If it is None, all frames are read.
            batch_size: sequences per batch.

        Returns:
            The forecast, in float32. Its axes are those of `frames`, and T is `horizon`. For a tensor, it is a tensor
            on the same device. For a DataArray or Dataset, it is one with dimension `lead_time`, coordinate `time`
            (valid times) and, for ensembles, dimension `realization`. Otherwise, it is a NumPy array.

        Raises:
            ValueError: the model has no preprocessing; there are too few frames; the frames have a wrong shape, only
                unknown values or an infinite value; known inputs are missing or have a wrong shape; or a DataArray has
                a unit that cannot be converted, or another time step than the model.
            TypeError: `frames` is another object.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True)
            >>> rain = model.forecast(torch.full((4, 50, 60), 5.0))  # mm/h
            >>> tuple(rain.shape), bool(4 < rain[0].mean() < 6)
            ((12, 50, 60), True)
        """
        return self._in_unit(frames, horizon, inputs, batch_size, self, static=static, future=future)

    def select_inputs(self, x: Tensor, inputs: Inputs = None) -> Tensor:
        """Returns the latest frames of `x` ``(N, T, …)`` that :meth:`forecast` reads; warns or raises if too few."""
        if inputs == "all":
            return x
        trained = self.input_frames or (self.preprocessing.inputs if self.preprocessing else None)
        count = (trained or x.shape[1]) if inputs is None else check.positive_int("inputs", inputs)
        if count > x.shape[1] and inputs is None and not self.input_frames:
            hint = f'pass {count}, or inputs="all" to forecast from {x.shape[1]}'
            warn(f"got {plural(x.shape[1], 'frame')}, and the weights expect {count}; {hint}")
        elif count > x.shape[1]:
            raise ValueError(f"expected at least {count} frames to read, got {x.shape[1]}; pass more")
        return x[:, -count:]

    def preprocess(self, frames: Tensor) -> Tensor:
        """Converts frames ``(…, C, H, W)`` from the unit of the data to the values that the network reads.

        Raises:
            ValueError: the model has no preprocessing, or the frames have another number of channels.
        """
        if frames.dim() < 3 or frames.shape[-3] != self.in_chans:
            raise ValueError(f"expected frames (…, {self.in_chans}, H, W), got {tuple(frames.shape)}")
        return self._values().encode(frames)

    def _values(self) -> Preprocessing:
        if self.preprocessing is None:
            raise ValueError(
                f"this {type(self).__name__} has no preprocessing: the unit of its values is unknown; set "
                "model.preprocessing = convrnn_zoo.Preprocessing(...), or call the model on values as in training"
            )
        return self.preprocessing

    def unknown_pixels(self, x: Tensor) -> Tensor:
        """Returns where the forecast from `x` ``(N, T, C, H, W)`` is NaN, as booleans ``(N, 1, C or 1, H, W)``."""
        return self.unknown_targets(x.isnan().all(1, keepdim=True))

    def unknown_targets(self, unknown: Tensor) -> Tensor:
        """Returns booleans ``(…, C or 1, H, W)`` of the outputs from those of the input channels."""
        if self.preprocessing is not None and self.preprocessing.target_channels is not None:
            return unknown[..., self.preprocessing.target_channels, :, :]
        return unknown if self.out_chans == self.in_chans else unknown.all(-3, keepdim=True)

    def _in_unit(
        self,
        frames: Any,
        horizon: int | None,
        inputs: Inputs,
        batch_size: int,
        run: Callable[..., Any],
        static: Any = None,
        future: Any = None,
        minutes: float | None = None,
        pixel_km: float | None = None,
        thresholds: Sequence[float] = (),
    ) -> Any:
        """Runs a forecast in the unit of the data.

        `run` maps preprocessed frames ``(N, T, C, H, W)``, the horizon and known inputs (by name) to a result
        ``(…, N, horizon, C, H, W)``, which is converted to the unit of the data. It may also return a tuple of a result
        in this unit and a mask ``(N, horizon, …, H, W)`` of pixels whose rain comes from outside the map. With
        `thresholds`, the result has an axis of thresholds before H and no unit. `minutes` is the expected time between
        frames, by default that of the training. With a `default_step`, the time step and the pixel size of labelled
        frames are the default, and `run` receives `minutes` and `pixel_km`. Labelled frames without a value at the end
        are left out.
        """
        values, horizon = self._values(), self.check_horizon(horizon)
        values.check_channels(self.in_chans, self.out_chans, self.static_chans, self.future_chans)
        labels, layout = self._read_labels(frames) if is_labelled(frames) else (None, Layout())
        x, axes = self._sequences(frames if labels is None else stack(labels, labels.data_vars))
        end = steps = x.shape[1]
        if labels is not None:
            end = max([t + 1 for t in range(steps) if x[:, t].isfinite().any()], default=steps)
            x, labels = x[:, :end], labels.isel(time=slice(end))
        x = self._leave_out_missing(self.select_inputs(x, inputs), labels)
        if labels is not None:
            labels = labels.isel(time=slice(-x.shape[1], None))
        step, expected = self._steps(labels, minutes)
        values.check(x)
        x = x.float()
        unknown = self.unknown_pixels(x)
        like, (height, width) = reference_tensor(self), x.shape[-2:]
        edges = (0, -width % self.reduction, 0, -height % self.reduction)
        known: dict[str, Tensor] = {}
        for name, v in self._known_inputs(static, future, x, labels, layout, step or expected, (end, steps), horizon):
            pads = [edge if v.shape[-1 - i // 2] == (width, height)[i // 2] else 0 for i, edge in enumerate(edges)]
            known[name] = F.pad(v, pads).to(like)
        times: dict[str, Any] = {}
        edge = None if labels is None else find_pixel_km(labels)
        if edge and pixel_km is not None and not 0.9 < edge / check.number("pixel_km", pixel_km, positive=True) < 1.1:
            warn(f"the coordinates have pixels of {edge:.3g} km; pixel_km={pixel_km:g} is used")
        if self.default_step:
            if labels is not None and edge and pixel_km is None:
                warn_of_oblong_pixels(labels)
            times = {"minutes": expected, "pixel_km": edge if pixel_km is None else pixel_km}
        elif edge and values.pixel_km and not 0.9 < edge / values.pixel_km < 1.1:
            warn(f"frames have pixels of {edge:.3g} km, and {values.pixel_km:.3g} km are expected; resample them")
        outputs: list[Tensor] = []
        masks: list[Tensor] = []
        inner = int(bool(thresholds))
        with evaluating(self):
            for i in range(0, len(x), check.positive_int("batch_size", batch_size)):
                part = slice(i, i + batch_size)
                padded = self.preprocess(F.pad(x[part], edges, value=torch.nan)).to(like)
                others = {k: v if len(v) == 1 else v[part] for k, v in known.items()}
                y = run(padded, horizon, **others, **times)
                if isinstance(y, tuple):  # in the unit of the data, with a mask
                    y, mask = y
                    masks.append(mask[..., :height, :width].to(x.device))
                y = y.float()[..., :height, :width].to(x.device)
                outputs.append(y if masks else values.decode(y))
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-5 - inner)
        fill = Tensor.masked_fill_ if masks else Tensor.masked_fill  # in place, where no model holds the result
        y = fill(y, unknown.reshape(*unknown.shape[:3], *(1,) * inner, height, width), torch.nan)
        if labels is not None:
            mask = torch.cat(masks).flatten(2, -3)[:, :, 0] if masks else None
            return self._label(frames, labels, layout, y, step or expected, thresholds, mask)
        if axes < 5:
            y = y.squeeze(-5 - inner)
        y = y if axes > 3 or self.out_chans > 1 else y.squeeze(-3 - inner)
        return y if isinstance(frames, Tensor) else y.numpy()

    def _steps(self, labels: Any, minutes: float | None) -> tuple[Step | None, Step | None]:
        """Returns the time step of labelled frames, and the expected one, which is `minutes` or that of the training.

        Raises ValueError if they differ. With a `default_step`, the step of the frames is expected.
        """
        expected: Step | None = self._values().step
        step = None if labels is None else check_step(get_times(labels), expected)
        if minutes is not None:
            expected = check.number("minutes", minutes, positive=True)
        elif self.default_step:
            expected = step or expected or self.default_step
        if self.default_step and isinstance(expected, str):
            raise ValueError(f"frames are a {expected} apart; pass frames of which one comes every few minutes")
        fix = "pass frames at the step of the training" if minutes is None else "correct minutes, or omit it"
        check_same(step, expected, "frames", fix)
        return step, expected

    def _known_inputs(
        self,
        static: Any,
        future: Any,
        x: Tensor,
        labels: Any,
        layout: Layout,
        step: Step | None,
        ends: tuple[int, int],
        horizon: int,
    ) -> Iterator[tuple[str, Tensor]]:
        """Yields the known inputs of frames `x`, encoded, by name.

        `ends` are the number of frames up to the last one of `x`, and that of all frames that the user passed.
        """
        values: Any = self._values()
        end, steps = ends
        if static is not None or self.static_chans:
            yield "static", values.encode_static(self._known("static", static, (), x, labels, layout))
        if future is not None or self.future_chans:
            dated = labels is not None and "time" in labels.coords
            dates = extend_times(labels, step, horizon) if dated and step else None
            every = self._known("future", future, (steps + horizon,), x, labels, layout, dates)
            every = every if dates is not None and every.shape[1] < steps + horizon else every[:, : end + horizon]
            yield "future", values.encode_future(every[:, -x.shape[1] - horizon :])

    def _leave_out_missing(self, x: Tensor, labels: Any) -> Tensor:
        """Warns of frames of `x` ``(N, T, C, H, W)`` without a value of a variable; nowcasts leave out first ones."""
        known = x.isfinite().flatten(-2).any(-1)
        missing = [t for t in range(x.shape[1]) if not known[:, t].all(-1).any()]
        if missing and known.any():
            dates = None if labels is None or "time" not in labels.coords else labels["time"].values[-x.shape[1] :]
            listed = ", ".join(str(t) if dates is None else str(dates[t])[:19] for t in missing)
            hint = "those between others are interpolated" if self.default_step else "pass complete ones"
            warn(f"frames without a value are among the {x.shape[1]} that are read: {listed}; {hint}")
            first = next(t for t in range(x.shape[1]) if known[:, t].any())
            return x[:, first:] if self.default_step and x.shape[1] - first > 1 else x
        return x

    def _read_labels(self, frames: Any) -> tuple[Any, Layout]:
        """Returns a DataArray or a Dataset in normal form, with the variables that the model reads in its units."""
        values: Any = self._values()
        names, units = [v.name for v in values.variables], {v.unit for v in values.encodings}
        if names and not is_data_array(frames):
            data, layout = normal_form(frames, names)
            return to_units(data, {v.name: v.unit for v in values.variables}, find_step(get_times(data))), layout
        data, layout = normal_form(frames)
        name = choose_variable(data, values.unit, layout.rejected)
        if names and CHANNEL in data.dims and (labels := axis_coordinate(data, CHANNEL)) is not None:
            listed = [str(label) for label in labels.values.tolist()]
            if set(names) & set(listed):
                if missing := [n for n in names if n not in listed]:
                    raise ValueError(f"frames have no channel {missing[0]}; {suggest(missing[0], listed)}")
                data = data.isel({CHANNEL: [listed.index(n) for n in names]})
        if len(units) > 1 and data[name].attrs.get("units") is not None:
            stated, expected = data[name].attrs["units"], ", ".join(sorted(units))
            raise ValueError(f"frames have units={stated!r}, and the variables have {expected}; pass a Dataset")
        return to_units(data, {name: units.pop() if len(units) == 1 else None}, find_step(get_times(data))), layout

    def _label(
        self,
        source: Any,
        frames: Any,
        layout: Layout,
        y: Tensor,
        step: Step | None,
        thresholds: Sequence[float],
        outside: Tensor | None = None,
    ) -> Any:
        """Returns a forecast ``([members,] N, horizon, C, [thresholds,] H, W)`` as xarray, as `source` of `frames`."""
        values: Any = self._values()
        inner, variables = bool(thresholds), bool(values.variables)
        targets = {getattr(v, "name", str(next(iter(frames)))): v.unit for v in values.target_variables}
        has_batch, has_channels = MEMBER in frames.dims, CHANNEL in frames.dims or len(frames) > 1 or self.out_chans > 1
        y = y if has_batch else y.squeeze(-5 - inner)
        y = y if has_channels else y.squeeze(-3 - inner)
        is_array, names = is_data_array(source), list(targets)
        if is_array and has_channels:
            units = set(targets.values())
            targets = {str(next(iter(frames))): units.pop() if len(units) == 1 else None}
        result: Any = label_forecast(
            y.numpy(),
            frames,
            targets,
            layout,
            step=step,
            thresholds=thresholds,
            has_channels=has_channels,
            has_members=y.dim() > 3 + has_batch + has_channels + inner,
            note=describe_conversions(frames),
            outside=None if outside is None else (outside if has_batch else outside[0]).numpy(),
        )
        if not is_array:
            return result
        [array] = result.data_vars.values()
        result = array.rename(None) if source.name is None else array
        if has_channels and variables:
            result = result.assign_coords({layout.dims.get(CHANNEL, CHANNEL): names})
        return result

    def _sequences(self, frames: Any) -> tuple[Tensor, int]:
        """Returns the frames as ``(N, T, C, H, W)``, and the number of axes that they had before."""
        x = given = to_tensor("frames", frames)
        axes = x.dim()
        if axes == 3 and self.in_chans == 1:
            x = x[:, None]
        if x.dim() == 4:
            x = x[None]
        if x.dim() != 5 or x.shape[2] != self.in_chans or 0 in x.shape:
            expected = f"{'(T, H, W) or ' if self.in_chans == 1 else ''}([N,] T, {self.in_chans}, H, W), no axis of 0"
            raise ValueError(f"frames must be {expected}, got {check.describe(given)}; permute or reshape them")
        return x, axes

    def _known(
        self, name: str, values: Any, steps: tuple[int, ...], x: Tensor, frames: Any, layout: Layout, times: Any = None
    ) -> Tensor:
        """Converts the static or future inputs of a forecast to ``(N or 1, [steps,] channels, H or 1, W or 1)``.

        Labelled inputs are aligned with the labelled `frames`, if there are any. Inputs without coordinates have the
        rows and columns of the source of `frames`. Future inputs with times are those at `times`, of the frames that
        are read and of the frames to forecast.
        """
        located: list[str] = []  # axes of labelled inputs that are north or west first; others are as in the source
        if is_labelled(values):
            described = {v.name: v.unit for v in getattr(self._values(), name)}
            names = None if is_data_array(values) or not described else list(described)
            data, _ = normal_form(values, names, is_static=name == "static")
            if is_data_array(values) and values.name is None:
                data = data.rename(dict.fromkeys(data.data_vars, name))
            if "time" not in data.dims:  # the time of the map from which it was selected
                data = data.drop_vars("time", errors="ignore")
            if name == "static" and data.sizes.get("time", 1) > 1:
                raise ValueError(f"static has {data.sizes['time']} times; select one, or build with future_chans")
            units = set(described.values())
            listed = (
                described
                if names
                else dict.fromkeys(map(str, data.data_vars), units.pop() if len(units) == 1 else None)
            )
            data = to_units(data, dict(listed), find_step(get_times(data)))
            if times is not None and steps and "time" in data.coords:
                data, steps = at_times(data, times, name), (len(times),)
            if frames is not None:
                align(data, frames, name, ("y", "x"), layout.dims)
                located = [axis for axis in ("y", "x") if axis_coordinate(data, axis) is not None]
            values = stack(data, data.data_vars)[0 if name == "static" else slice(None)]
        if values is not None:
            values, axes = to_tensor(name, values).float(), 4 + len(steps)
            if values.dim() == axes - 2 and getattr(self, f"{name}_chans") == 1:
                values = values.unsqueeze(-3)
            values = values[None] if values.dim() == axes - 1 else values
            turned = [axis for axis in layout.turned if axis not in located]
            values = values.flip([{"y": -2, "x": -1}[axis] for axis in turned])
        known = self._check_known(name, values, steps, x)
        if known.isinf().any() or known.isnan().all():
            raise ValueError(f"{name} must be finite, or NaN where it is unknown; it has infinite values or only NaN")
        return known

    # ---- checks ------------------------------------------------------------------------------------------------
    def check_frames(self, name: str, x: object) -> Tensor:
        """Returns `x` if it is a tensor of frames that the model supports; otherwise raises an error about `name`."""
        owner, layout = type(self).__name__, "(N, T, C, H, W)"
        like, ranks = reference_tensor(self), {5: layout}
        x = check.tensor_input(owner, f"{name} as a tensor {layout}", x, ranks, self.in_chans, -3, like, name)
        count, size, edge = x.shape[1], tuple(x.shape[-2:]), self.reduction
        if not count:
            raise ValueError(f"{owner} expected {name} of at least one frame, got {tuple(x.shape)}; drop empty ones")
        if self.input_frames not in (None, count):
            hint = f"pass the last {self.input_frames}, or build with input_frames={count}"
            raise ValueError(f"{owner} expected {self.input_frames} frames in {name}, got {count}; {hint}")
        if any(s % edge for s in size):
            hint = f"pad {name} to {tuple(s + -s % edge for s in size)} or crop it"
            raise ValueError(f"{owner} expected height and width that are multiples of {edge}, got {size}; {hint}")
        return x

    def fixed_arguments(self, horizon: int) -> dict[str, Any]:
        """Returns arguments of :meth:`forward` that are constants in an exported file with this horizon."""
        return {"horizon": horizon}

    def check_horizon(self, horizon: int | None) -> int:
        """Checks and returns the horizon of a call; None means the model's `horizon`."""
        if isinstance(horizon, torch.SymInt):  # while the model is exported
            return horizon
        return self.horizon if horizon is None else check.positive_int("horizon", horizon)

    def known_inputs(
        self, x: Tensor, horizon: int, static: Tensor | None = None, future: Tensor | None = None
    ) -> Tensor | None:
        """Checks known inputs and joins them to ``(N, T + horizon, S + F, H, W)``; None if the model reads none."""
        steps, parts = x.shape[1] + horizon, []
        for name, value, axes in (("static", static, ()), ("future", future, (steps,))):
            if value is None and not getattr(self, f"{name}_chans"):
                continue
            part = self._check_known(name, value, axes, x)
            check.device_and_dtype(type(self).__name__, name, part, x)
            part = part if axes else part.unsqueeze(1)
            parts.append(part.expand(x.shape[0], steps, -1, *x.shape[-2:]))
        return torch.cat(parts, dim=2) if parts else None

    def _check_known(self, name: str, value: object, steps: tuple[int, ...], x: Tensor) -> Tensor:
        """Returns `value` if it is ``(N or 1, [steps,] channels, H or 1, W or 1)``; otherwise raises ValueError."""
        owner, chans = type(self).__name__, getattr(self, f"{name}_chans")
        if not chans:
            raise ValueError(f"{owner} reads no {name} inputs; leave {name} out, or build it with {name}_chans")
        axes = [(x.shape[0], 1), *((n,) for n in (*steps, chans)), *((size, 1) for size in x.shape[-2:])]
        is_map = isinstance(value, Tensor) and value.dim() == len(axes)
        if is_map and all(size in sizes for size, sizes in zip(value.shape, axes, strict=True)):  # type: ignore[attr-defined]
            return value  # type: ignore[return-value]
        expected = f"(N, T + horizon = {steps[0]}, {chans}, H, W)" if steps else f"(N, {chans}, H, W)"
        got = f"got {check.describe(value)}; N, H and W may be 1"
        raise ValueError(f"{owner} expected {name} {expected} for frames {tuple(x.shape)}, {got}")


class EncoderForecaster(Forecaster):
    """Base class of encoder–forecasters.

    The first layer of the forecaster reads a channel of ones and the known inputs. Its weights for the channel of ones
    act as biases. The known inputs are folded to the resolution of this layer. A subclass defines :meth:`encode` and
    :meth:`decode_sequence`, builds the recurrent layers `encoder`, and sets :attr:`encoder_modules`. A state has one
    entry for each recurrent module of `encoder`, in the form in which that module returns it, and no list for a single
    module. The entry may also be :class:`~convrnn_zoo.layers._states.LayerStates`, which both methods then return, too.
    """

    encoder_modules: ClassVar[tuple[str, ...]] = ("encoder",)
    """Names of the modules that :meth:`encode` runs. The export writes them to a separate file."""

    def forward(
        self, x: Tensor, horizon: int | None = None, *, static: Tensor | None = None, future: Tensor | None = None
    ) -> Tensor:
        """Returns the forecast ``(N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)`` and known inputs."""
        horizon = self.check_horizon(horizon)
        known = self.known_inputs(self.check_frames("x", x), horizon, static, future)
        if known is None:
            return self.decode(self.encode(x), horizon)
        return self.decode(self.encode(x, known=known[:, : x.shape[1]]), horizon, known[:, x.shape[1] :])

    def encode(self, x: Tensor, state: Any = None, known: Tensor | None = None) -> Any:
        """Returns the encoder's state after frames `x` ``(N, T, C, H, W)`` with `known` inputs; starts from `state`."""
        raise NotImplementedError(f"{type(self).__name__} must define encode")

    def decode(self, state: Any, horizon: int | None = None, known: Tensor | None = None) -> Tensor:
        """Forecasts ``(N, horizon, C, H, W)`` from the encoder's state and `known` inputs of the forecast frames."""
        return self.decode_sequence(state, self.check_horizon(horizon), known)[0]

    def decode_sequence(self, state: Any, horizon: int, known: Tensor | None = None) -> tuple[Tensor, Any]:
        """Returns the forecast of :meth:`decode`, and the last state of the forecaster's layers."""
        raise NotImplementedError(f"{type(self).__name__} must define decode_sequence")

    def join_known(self, x: Tensor, known: Tensor | None) -> Tensor:
        """Checks the frames, and returns them with the known inputs as further channels."""
        x = self.check_frames("x", x)
        return x if known is None else torch.cat([x, known], dim=2)

    def first_input(self, like: Tensor, horizon: int, known: Tensor | None = None) -> Tensor:
        """Returns the input ``(horizon, N, C, H, W)`` of the forecaster's first layer, with N, H and W of `like`."""
        ones = like.new_ones(1, 1, 1, 1, 1).expand(horizon, like.shape[0], 1, *like.shape[-2:])
        return ones if known is None else torch.cat([ones, Unshuffle(self.reduction)(known.transpose(0, 1))], dim=2)
