"""Base classes of all models of the zoo."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ... import _checks as check
from ...layers._base import SPACE
from ...pretrained.config import HEAD_CFG_KEYS
from ...pretrained.metadata import WeightsMetadata
from ...pretrained.state_dict import clear_metadata
from ...values.log_mel import LogMel
from ...values.preprocessing import Preprocessing
from .lengths import check_pool

Frames = TypeVar("Frames", Tensor, PackedSequence)


class ZooModel(nn.Module):
    """Base class of all models that :func:`convrnn_zoo.create_model` builds.

    A model is a :class:`~convrnn_zoo.Forecaster`, a sequence model such as :class:`~convrnn_zoo.ConvRNNModel`, or a
    model with an output for every pixel. Constructors also take `device` and `dtype` of the parameters. Type
    checkers know the attributes of this class. Those of its subclasses have type Any until ``isinstance`` narrows it.

    Example:
        >>> import convrnn_zoo
        >>> isinstance(convrnn_zoo.create_model("convgru1d_1layer"), ZooModel)
        True
    """

    has_frame_encoder: ClassVar[bool] = False
    """Whether ``encoder`` is a :class:`~convrnn_zoo.models.base.encoder.FrameEncoder` that reads the frames."""
    fixed_args: ClassVar[tuple[str, ...]] = ()
    """Arguments of a base class, or of the layers, that a class sets itself and users cannot pass."""
    group_patterns: ClassVar[dict[str, Any]]
    """Patterns of parameter names by group, in timm's form; a class without them defines :meth:`group_matcher`."""
    input_weights: tuple[str, ...] = ()
    """Names of the parameters that read the input channels, which are adapted to another number of channels."""
    in_chans: int
    """Channels of the input."""
    num_classes: int
    """Outputs of the classifier; 0 for none."""
    pretrained_cfg: dict[str, Any]
    """timm's description of the weights and of the data that they were trained on; empty without a registered name."""
    model_args: dict[str, Any]
    """Arguments with which the model was built."""
    preprocessing: Preprocessing | None = None
    """Conversion between the unit of the data and the values of the network, for forecasters; None if unknown."""
    front_end: LogMel | None = None
    """Feature extraction from audio samples, for classifiers of audio."""
    metadata: WeightsMetadata | None = None
    """Metadata of the loaded weights; None without weights, or if the head was replaced or the weights were adapted."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def no_weight_decay(self) -> set[str]:
        """Returns the names of parameters without weight decay: learned initial states, norms, channel peepholes."""
        exempt = ("initial_", "weight_norm", "bias_norm")
        return {
            name
            for name, p in self.named_parameters()
            if (last := name.rpartition(".")[2]).startswith(exempt)
            or (last.startswith("weight_p") and p.dim() > 1 and p[0].numel() == 1)
        }

    def group_matcher(self, coarse: bool = False) -> Any:
        """Returns timm's matcher, which groups parameters by depth for layer-wise learning rate decay."""
        return self.group_patterns

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enables gradient checkpointing, which recomputes layers or steps in the backward pass to save memory."""
        image_model = set(self.encoder.model.modules()) if self.has_frame_encoder else ()  # its encoder recomputes it
        for module in self.modules():
            if hasattr(module, "grad_checkpointing") and module not in image_model:
                module.grad_checkpointing = enable  # type: ignore[assignment]


def reference_tensor(module: nn.Module) -> Tensor:
    """Returns a tensor with the device and dtype of a module's parameters.

    It is the first parameter. The replicas of ``nn.DataParallel`` have no parameters; they hold plain tensors instead.
    """
    for parameter in module.parameters():
        return parameter
    return next(v for part in module.modules() for v in vars(part).values() if isinstance(v, Tensor))


class HeadedModel(ZooModel):
    """Base class of models whose head can be replaced.

    A subclass calls ``reset_classifier`` at the end of its constructor. It defines ``make_head(num_classes)``,
    ``feature_info`` and two more methods. ``_forward_maps(x, depth, **inputs)`` returns the features and the maps of at
    least the first `depth` levels. ``_keep_maps(count, prune_head)`` removes the levels after the first `count`.
    """

    head: nn.Module
    global_pool: str | None
    ndim: int
    """Number of spatial dimensions of a map."""

    def get_classifier(self) -> nn.Module:
        """Returns the head, which is an ``nn.Identity`` if `num_classes` is 0."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the head, or removes it for 0 classes; replaces the pool unless `global_pool` is None."""
        if not check.is_int(num_classes) or num_classes < 0:
            raise ValueError(f"num_classes must be a whole number of at least 0 (no classifier), got {num_classes!r}")
        if global_pool is not None:
            self.global_pool = check_pool(global_pool)
        self.num_classes = int(num_classes)
        self.head = (self.make_head(self.num_classes) if num_classes else nn.Identity()).train(self.training)
        clear_metadata(self)
        for key in HEAD_CFG_KEYS:  # they described the outputs of the previous head
            self.pretrained_cfg.pop(key, None)

    def forward_intermediates(
        self,
        x: Any,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        **inputs: Any,
    ) -> Any:
        """Returns ``(features, maps)``: the features, and the maps of some layers or levels.

        Args:
            x, **inputs: the inputs of :meth:`forward`.
            indices: list of layers or levels, counted from 0; an int n selects the last n, None all.
            norm: has no effect; timm passes it.
            stop_early: whether to stop after the last layer of `indices` if possible; its map replaces the features.
            output_fmt: must be ``"NCHW"``.
            intermediates_only: whether to return only the list of maps.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW' (channels before the map), got {output_fmt!r}")
        take = chosen_layers(len(self.feature_info), indices)
        features, maps = self._forward_maps(x, max(take) + 1 if stop_early else None, **inputs)
        maps = [maps[i] for i in take]
        return maps if intermediates_only else (features, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes the layers or levels after the last of `indices`, and the head if `prune_head` is set."""
        take, names = chosen_layers(len(self.feature_info), indices), self.state_dict().keys()
        self._keep_maps(max(take) + 1, prune_head)
        if self.state_dict().keys() != names:
            clear_metadata(self)
        return take

    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Returns mean and std of each channel of the data that the weights were trained on; None if they are 0 and 1.

        Raises:
            ValueError: the mean and std have another number of channels than the model.
        """
        cfg = self.pretrained_cfg
        mean, std = (torch.tensor(cfg.get(k) or (v,), dtype=torch.float64) for k, v in (("mean", 0.0), ("std", 1.0)))
        if not mean.any() and bool((std == 1).all()):
            return None
        if self.has_frame_encoder and self.in_chans == 1:  # a config of an earlier version has the means of the colours
            mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
        if len(mean) != self.in_chans:
            raise ValueError(
                f"mean and std are of {len(mean)} channels, not {self.in_chans}; set them in model.pretrained_cfg"
            )
        return mean, std

    def normalize(self, x: Frames) -> Frames:
        """Standardises the channels of `x`, ``(…, C, *S)`` or packed, with the mean and std of :meth:`statistics`.

        Raises:
            ValueError: `x`, or the mean and std, have another number of channels than the model.
        """
        if isinstance(x, PackedSequence):
            return PackedSequence(self.normalize(x.data), *x[1:])
        axis = -self.ndim - 1
        if x.dim() < -axis or x.shape[axis] != self.in_chans:
            raise ValueError(
                f"{type(self).__name__} expected {self.in_chans} input channels at axis {axis} of (…, C, "
                f"{SPACE[self.ndim]}), got {tuple(x.shape)}; permute the input"
            )
        if (statistics := self.statistics()) is None:
            return x
        x = x if x.is_floating_point() else x.float()
        mean, std = (
            values.to(x.dtype).to(x.device, non_blocking=True).reshape(-1, *(1,) * self.ndim) for values in statistics
        )
        return (x - mean) / std


def chosen_layers(num_layers: int, indices: int | Sequence[int] | None) -> list[int]:
    """Returns the numbers of the layers that timm's `indices` select: None selects all, an int n the last n."""
    layers = range(num_layers)
    selected: Any = layers if indices is None else range(-indices, 0) if check.is_int(indices) else indices
    if not hasattr(selected, "__iter__"):
        raise TypeError(f"indices must be None, an int or a list of ints, got {check.describe(indices)}")
    if not [*selected]:
        raise ValueError(f"indices must select at least one layer, got {indices!r}; pass a list such as [-1]")
    if not {*selected} <= {*range(-num_layers, num_layers)}:
        raise ValueError(f"indices must be of the {num_layers} layers that there are, got {indices!r}")
    return [layers[i] for i in selected]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which the model is in evaluation mode. Threads may share a model that already is in this mode."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
