"""Base classes of forecasters: input checks, forecasts in the unit of the data, encoders with a decoder, ensembles."""

from collections.abc import Callable, Mapping
from functools import partial, partialmethod
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ... import _checks as check
from .blocks import Unshuffle
from .forecasting import Inputs, get_preprocessing, run_forecast
from .model import ZooModel, reference_tensor

Frames = TypeVar("Frames")
"""Type of frames, and of their forecast."""
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

    fixed_args: ClassVar[tuple[str, ...]] = ("reduction",)
    num_classes = 0
    num_features: int
    """Input channels of the last convolution."""
    default_step: ClassVar[float | None] = None
    """Default number of minutes between frames, for models that read this number as an input; None for others."""
    default_pixel_km: ClassVar[float | None] = None
    """Default edge of a pixel in km, for models that read it."""
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
    @torch.no_grad()
    def forecast(
        self,
        frames: Frames,
        horizon: int | None = None,
        *,
        static: Any = None,
        future: Any = None,
        inputs: Inputs = None,
        batch_size: int = 16,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Frames:
        """Forecasts the frames that follow, in the unit of the data; maps may be of any size.

        Mark unknown values as NaN or in a NumPy masked array; :class:`~convrnn_zoo.Preprocessing` describes how NaN is
        encoded. A pixel that is unknown in all frames that the model reads is NaN in the forecast. Maps whose size is
        no multiple of `reduction` are padded for the network. The call runs in evaluation mode; call ``eval()`` before
        several threads forecast at once. Values out of the expected range give a warning.

        Args:
            frames: ``(T, H, W)`` of one channel, ``(T, C, H, W)`` or ``(N, T, C, H, W)``; a tensor, a NumPy array, or a
                DataArray or Dataset of xarray, which may have `time` at any position; its ``units`` are converted. The
                address of a Zarr store, such as ``"s3://bucket/rain.zarr"``, or a store of zarr, stands for its latest
                frames.
            horizon: frames to forecast; by default the model's `horizon`.
            static: static maps ``(S, H, W)`` or ``(N, S, H, W)``, if the model reads any.
            future: future inputs ``(T + horizon, F, H, W)`` or ``(N, T + horizon, F, H, W)``, if the model reads any.
                The first T steps belong to the input frames. H and W of `static` and `future` may be 1.
            inputs: number of the latest frames to read, or ``"all"``. By default ``preprocessing.inputs``, the number
                in training; fewer frames give a warning. If it is None, all frames are read.
            batch_size: sequences per batch.
            storage_options: options of fsspec for an address, as in xarray.

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
        return run_forecast(
            self,
            frames,
            self,
            horizon=horizon,
            static=static,
            future=future,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
        )[0]

    def preprocess(self, frames: Tensor) -> Tensor:
        """Converts frames ``(…, C, H, W)`` from the unit of the data to the values that the network reads.

        Raises:
            ValueError: the model has no preprocessing, or the frames have another number of channels.
        """
        if frames.dim() < 3 or frames.shape[-3] != self.in_chans:
            raise ValueError(f"expected frames (…, {self.in_chans}, H, W), got {tuple(frames.shape)}")
        return get_preprocessing(self).encode(frames)

    def unknown_pixels(self, x: Tensor) -> Tensor:
        """Returns where the forecast from `x` ``(N, T, C, H, W)`` is NaN, as booleans ``(N, 1, C or 1, H, W)``."""
        return self.unknown_targets(x.isnan().all(1, keepdim=True))

    def unknown_targets(self, unknown: Tensor) -> Tensor:
        """Returns booleans ``(…, C or 1, H, W)`` of the outputs from those of the input channels."""
        if self.preprocessing is not None and self.preprocessing.target_channels is not None:
            return unknown[..., self.preprocessing.target_channels, :, :]
        return unknown if self.out_chans == self.in_chans else unknown.all(-3, keepdim=True)

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
            part = self.check_known(name, value, axes, x)
            check.device_and_dtype(type(self).__name__, name, part, x)
            part = part if axes else part.unsqueeze(1)
            parts.append(part.expand(x.shape[0], steps, -1, *x.shape[-2:]))
        return torch.cat(parts, dim=2) if parts else None

    def check_known(self, name: str, value: object, steps: tuple[int, ...], x: Tensor) -> Tensor:
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


class Ensemble:
    """Mixin of forecasters that make ensembles. A subclass defines :meth:`members`."""

    def members(self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None) -> Tensor:
        """Returns an ensemble of forecasts ``(members, N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} must define members")

    def choose_call(
        self,
        single: Callable[..., Any],
        members: int | None,
        seed: int | None,
        ensemble: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
        """Returns the function `ensemble`, by default :meth:`members`, or `single` if the number of members is None."""
        if members is not None:
            return partial(ensemble or self.members, members=members, seed=seed)
        if seed is not None:
            raise ValueError("seed is only valid with members: pass members=, or leave the seed out")
        return single


class EnsembleForecaster(Ensemble, Forecaster):
    """Base class of forecasters that read noise: each noise sample gives one member of an ensemble of forecasts.

    The noise is an input, so that the same noise gives the same forecast. A subclass defines :meth:`read` (the part
    that all members share), :meth:`make` (one member) and :meth:`noise_shape`.
    """

    def read(self, x: Tensor) -> Any:
        """Computes the part of the forecast that all members share, such as the state after the frames."""
        raise NotImplementedError(f"{type(self).__name__} must define read")

    def make(self, context: Any, horizon: int, noise: Tensor) -> Tensor:
        """Returns one member ``(N, horizon, C, H, W)`` from the noise and the `context` that :meth:`read` returns."""
        raise NotImplementedError(f"{type(self).__name__} must define make")

    def noise_shape(self, x: Tensor, horizon: int) -> tuple[int, ...]:
        """Returns the shape of the noise for one member; its first axis is N."""
        raise NotImplementedError(f"{type(self).__name__} must define noise_shape")

    def draw_noise(self, x: Tensor, horizon: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Samples standard normal noise for one member of the forecast of `x`; see :meth:`noise_shape`.

        The noise is sampled on the generator's device, by default with torch's global CPU generator, and then moved to
        the device of `x`. A seed thus gives the same noise for a model on any device.
        """
        shape = self.noise_shape(x, self.check_horizon(horizon))
        device = generator.device if generator is not None else "meta" if x.is_meta else "cpu"
        return torch.randn(shape, generator=generator, device=device).to(x)

    def forward(self, x: Tensor, horizon: int | None = None, *, noise: Tensor | None = None) -> Tensor:
        """Returns one member ``(N, horizon, C, H, W)`` of the forecast from frames `x` ``(N, T, C, H, W)``.

        `noise` comes from :meth:`draw_noise`; zeros by default. If its first axis is 1, the whole batch shares it.

        Raises:
            ValueError: the frames or the noise have a wrong shape.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        return self.make(self.read(x), horizon, self._check_noise(noise, x, horizon))

    @torch.no_grad()
    def forecast(  # type: ignore[override]
        self,
        frames: Any,
        horizon: int | None = None,
        *,
        members: int | None = None,
        seed: int | None = None,
        inputs: Inputs = None,
        batch_size: int = 16,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Forecasts an ensemble in the unit of the data.

        Args:
            members: number of members, the size of the result's first axis; None for one forecast without noise.
            seed: as for :meth:`members`.
            …: as for :meth:`convrnn_zoo.Forecaster.forecast`.

        Example:
            >>> import convrnn_zoo
            >>> model = convrnn_zoo.create_model("convgru_irene", num_blocks=2)
            >>> model.preprocessing = convrnn_zoo.Preprocessing(encoding="dbz", unit="mm/h", step=5.0)
            >>> rain = model.forecast(5 * torch.rand(6, 50, 70), horizon=4, members=3, seed=0)  # mm/h
            >>> mean, spread, above_1_mm = rain.mean(0), rain.std(0), (rain > 1).float().mean(0)
            >>> tuple(rain.shape), tuple(above_1_mm.shape)
            ((3, 4, 50, 70), (4, 50, 70))
        """
        return run_forecast(
            self,
            frames,
            self.choose_call(self, members, seed),
            horizon=horizon,
            inputs=inputs,
            batch_size=batch_size,
            storage_options=storage_options,
        )[0]

    def members(self, x: Tensor, horizon: int | None = None, *, members: int = 20, seed: int | None = None) -> Tensor:
        """Returns an ensemble of forecasts ``(members, N, horizon, C, H, W)`` from frames `x` ``(N, T, C, H, W)``.

        All sequences of a batch share the noise of a member. With a `seed`, member k has the same noise on any device,
        for any number of `members` and any batch. Without `seed`, torch's global generator is used.

        Raises:
            ValueError: the frames have a wrong shape, or `members` is below 1.
        """
        x, horizon = self.check_frames("x", x), self.check_horizon(horizon)
        count = check.positive_int("members", members)
        generator = None if seed is None else torch.Generator().manual_seed(check.whole_number("seed", seed))
        context, shape = self.read(x), self.noise_shape(x, horizon)
        noises = [self.draw_noise(x[:1], horizon, generator).expand(shape) for _ in range(count)]
        return torch.stack([self.make(context, horizon, noise) for noise in noises])

    def _check_noise(self, noise: object, x: Tensor, horizon: int) -> Tensor:
        shape = self.noise_shape(x, horizon)
        if noise is None:
            return x.new_zeros(shape)
        owner = type(self).__name__
        if not isinstance(noise, Tensor) or noise.shape not in (shape, (1, *shape[1:])):
            got = f"got {check.describe(noise)}; draw_noise samples it"
            raise ValueError(f"{owner} expected noise of shape {shape}, or 1 for the first, {got}")
        check.device_and_dtype(owner, "noise", noise, x)
        return noise.expand(shape)
