"""Image models of timm that compute the feature maps of frames."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from ... import _checks as check
from .blocks import recompute


def _features(name: str, **options: Any) -> nn.Module:
    """Builds a timm model that returns feature maps, if possible without the layers after the last map."""
    if "output_stride" not in options:
        try:
            model = timm.create_model(name, features_only=True, feature_cls="getter", **options)
        except TypeError as e:  # a few of timm's models, such as hardcorenas, choose their own class of features
            if "feature_cls" not in str(e):
                raise
            return timm.create_model(name, features_only=True, **options)
        if hasattr(_trunk(model)[1], "forward_intermediates"):
            return model
    return timm.create_model(name, features_only=True, **options)


def _trunk(module: nn.Module) -> tuple[str, nn.Module]:
    """Returns the prefix that timm's wrappers add to parameter names, and the image model inside the wrappers."""
    prefix = ""
    while len(children := list(module.named_children())) == 1:
        prefix, module = f"{prefix}{children[0][0]}.", children[0][1]
    return prefix, module


def _block_depths(trunk: nn.Module) -> dict[str, int]:
    """Returns the depth of each parameter by name.

    All parameters of a block have the same depth. The children of `trunk` are blocks; instead of an
    ``nn.Sequential``, each of its children is a block.
    """
    depths, depth = {name: 0 for name, _ in trunk.named_parameters(recurse=False)}, -1
    for name, child in trunk.named_children():
        parts = list(child.named_children()) if isinstance(child, nn.Sequential) else [("", child)]
        for part, block in parts:
            depth += any(p.dim() > 1 for p in block.parameters())
            depths |= {".".join(filter(None, (name, part, n))): max(depth, 0) for n, _ in block.named_parameters()}
    return depths


class FrameEncoder(nn.Module):
    """An image model of timm that maps frames ``(B, C, H, W)`` to one map ``(B, C_l, H_l, W_l)`` for each level l.

    Args:
        name: name of a timm model with feature maps, such as ``"resnet18"``.
        levels: levels of the maps, as timm's ``out_indices``.
        in_chans: channels of a frame.
        pretrained: whether timm loads its weights; ignored on the meta device.
        frozen: whether the parameters and the statistics of batch norms stay fixed in training, until a parameter
            requires gradients again, such as after ``timm.utils.unfreeze(model, ["encoder"])``.
        chunk_size: number of frames encoded at once.
        device, dtype: of the parameters.
        output_stride: largest reduction, for models that can dilate their convolutions instead of striding.

    Raises:
        ValueError: timm has no such model, or the model has no such maps.

    Example:
        >>> encoder = FrameEncoder("resnet18", levels=(1, 3))
        >>> [tuple(y.shape) for y in encoder(torch.rand(2, 3, 64, 64))]
        [(2, 64, 16, 16), (2, 256, 4, 4)]
    """

    def __init__(
        self,
        name: str,
        levels: Sequence[int] = (-1,),
        in_chans: int = 3,
        pretrained: bool = False,
        frozen: bool = False,
        chunk_size: int = 32,
        output_stride: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not levels or not all(check.is_int(level) for level in levels):
            raise ValueError(f"levels must be whole numbers, as timm's out_indices, got {list(levels)!r}")
        self.name, self.frozen = name, check.boolean("frozen", frozen)
        self.paused = False
        """Whether the encoder stays fixed for now, although its parameters require gradients."""
        self.chunk_size: int | None = check.positive_int("chunk_size", chunk_size)
        self.grad_checkpointing = False
        if not isinstance(name, str) or not timm.is_model(name):
            pattern = f"*{str(name).split('.')[0][:8]}*"
            near = ", ".join(timm.list_models(pattern)[:3]) or "resnet18, mobilenetv3_small_100"
            raise ValueError(f"timm has no model {name!r}; it has such as {near}: timm.list_models()")
        # Also within `with torch.device("meta")`.
        pretrained = pretrained and torch.empty(0, device=device).device.type != "meta"
        options: dict[str, Any] = {"pretrained": pretrained, "in_chans": in_chans}
        if output_stride is not None:
            options["output_stride"] = output_stride
        try:
            with nullcontext() if device is None else torch.device(device):  # few of timm's models take a device
                self.model: Any = self.build(name, tuple(levels), **options).to(dtype=dtype)
            info = self.level_info(levels)
        except (AttributeError, AssertionError, IndexError, NotImplementedError, RuntimeError) as e:
            if isinstance(e, RuntimeError) and pretrained:
                raise  # timm could not load its weights
            hint = f"choose other levels, or upgrade timm {timm.__version__}: {type(e).__name__}: {e}"
            raise ValueError(f"{name} offers no feature maps {list(levels)!r}; {hint}") from e
        order = [i["index"] for i in info]
        if order != sorted(set(order)):
            raise ValueError(
                f"levels must be in the encoder's order, each once, and -1 is the last; got {list(levels)!r}"
            )
        self.widths = [int(i["num_chs"]) for i in info]
        self.reductions = [int(i["reduction"]) for i in info]
        if self.frozen:
            self.model.requires_grad_(False).eval()

    def build(self, name: str, levels: tuple[int, ...], **options: Any) -> nn.Module:
        """Builds the image model, which :meth:`maps` calls."""
        return _features(name, out_indices=levels, **options)

    def level_info(self, levels: Sequence[int]) -> list[dict[str, Any]]:
        """Returns channels, reduction and index of each level, as timm's ``feature_info``."""
        return self.model.feature_info.get_dicts()

    def trunk(self) -> tuple[str, nn.Module]:
        """Returns the prefix of parameter names in this encoder, and the image model inside timm's wrappers."""
        prefix, module = _trunk(self.model)
        return f"model.{prefix}", module

    def keep_levels(self, count: int) -> None:
        """Keeps the first `count` levels; if timm can prune, also removes layers that only later levels need."""
        if count >= len(self.widths):
            return
        self.widths, self.reductions = self.widths[:count], self.reductions[:count]
        _, trunk = _trunk(self.model)
        if hasattr(self.model, "out_indices") and hasattr(trunk, "prune_intermediate_layers"):
            indices = self.model.out_indices[:count]
            self.model.out_indices = trunk.prune_intermediate_layers(indices, prune_norm=True)  # type: ignore[operator]

    def group_matcher(self, later: Sequence[Sequence[str]], coarse: bool = False) -> Callable[[str], int]:
        """Returns timm's matcher from parameter names to depths, for a model with this encoder as ``model.encoder``.

        `later` lists the modules after the encoder in order, as tuples of names. The modules of one tuple have the same
        depth. Modules that are not listed come last.
        """
        prefix, trunk = self.trunk()
        if hasattr(trunk, "group_matcher"):
            groups = group_parameters(trunk, trunk.group_matcher(coarse=coarse), reverse=True)  # type: ignore[operator]
        else:
            groups = _block_depths(trunk)
        depths = {f"encoder.{prefix}{name}": depth for name, depth in groups.items()}
        deepest = max(depths.values(), default=0)
        stages = [(f"{module}.", deepest + i) for i, modules in enumerate(later, 1) for module in modules]
        last = deepest + len(later) + 1
        return lambda name: depths.get(name, next((d for module, d in stages if name.startswith(module)), last))

    @property
    def is_fixed(self) -> bool:
        """Whether training does not change the encoder."""
        return self.paused or (self.frozen and not any(p.requires_grad for p in self.model.parameters()))

    def train(self, mode: bool = True) -> "FrameEncoder":
        super().train(mode)
        if self.is_fixed:
            self.model.eval()
        return self

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Returns the maps of each level for frames ``(N, C, H, W)``; at most `chunk_size` frames are read at once."""
        if self.chunk_size is None:  # in an exported graph, which takes any number of frames
            return self.encode(frames)
        smallest, size = max(self.reductions), tuple(frames.shape[-2:])
        if min(size) < smallest:
            hint = "enlarge them, or use lower levels"
            raise ValueError(f"{self.name} expected frames of at least {smallest}×{smallest}, got {size}; {hint}")
        parts = [self._chunk(part) for part in frames.tensor_split(max(1, -(-len(frames) // self.chunk_size)))]
        return [torch.cat(maps) if len(parts) > 1 else maps[0] for maps in zip(*parts, strict=True)]

    @property
    def fixed_size_reason(self) -> str | None:
        """Reason why an exported graph takes frames of one size only; None if it takes any size."""
        if any(type(m).__name__.endswith("2dSame") for m in self.modules()):
            return "the padding of the encoder depends on the size of the map"
        return None

    def _chunk(self, frames: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and (not self.is_fixed or frames.requires_grad)):
            return recompute(self.encode, frames, norms=self.model) if self.grad_checkpointing else self.encode(frames)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Returns the map of each level for all frames at once, without chunks."""
        try:
            return self.maps(frames)
        except AssertionError as e:  # raised by timm's models of a fixed size
            size, hint = "×".join(map(str, frames.shape[-2:])), "resize them, or use an encoder such as resnet18"
            raise ValueError(f"{self.name} does not take frames of {size}: {e}; {hint}") from e

    def maps(self, frames: Tensor) -> list[Tensor]:
        """Returns the map of each level that :meth:`keep_levels` has kept."""
        return self.model(frames)[: len(self.widths)]
