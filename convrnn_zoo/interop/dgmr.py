"""DGMR's generator in openclimatefix's code. Its spectral norms are folded into the weights.

A forward pass divides each normalised weight W by ``u · (W v)``, where u and v are stored next to it. torch has named
them in two ways, and both are read. https://github.com/openclimatefix/skillful_nowcasting
"""

import logging
import math
import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.variants import Conv2dReLUGRU
from ..models import WeightsError, create_model
from ._checkpoint import ForeignCheckpoint, some
from ._key_map import Entries, Source, load_weights, meta_model

logger = logging.getLogger("convrnn_zoo")

Names = dict[str, str]
BLOCK: Names = {"beside": "conv_1x1", "first": "first_conv_3x3", "last": "last_conv_3x3"}
ATTENTION: Names = {part: part for part in ("query", "key", "value", "gamma")} | {"last": "last_conv"}
GATES = ("read_gate_conv", "update_gate_conv", "output_conv")
"""The convolutions of its ConvGRU in our order r, z, n. Its update gate keeps the previous state, as our z does."""


def _within(blocks: Names, parts: Names) -> Names:
    return {f"{ours}.{a}": f"{original}.{b}" for ours, original in blocks.items() for a, b in parts.items()}


def _levels(ours: str, original: str) -> Names:
    return {f"{ours}.{i}": f"{original}{i + 1}" for i in range(4)}


_NORMED = BLOCK | {"norm1": "bn1", "norm2": "bn2"}
MODULES: Names = {
    **_within(_levels("context.downs", "conditioning_stack.d"), BLOCK),
    **_levels("context.mixes", "conditioning_stack.conv"),
    "latent.0": "latent_stack.conv_3x3",
    **_within({f"latent.{1 + i + i // 3}": f"latent_stack.l_block{i + 1}" for i in range(4)}, BLOCK),
    **_within({"latent.4": "latent_stack.att_block"}, ATTENTION),
    **{f"sampler.grus.{i}": f"sampler.convGRU{i + 1}.cell" for i in range(4)},
    **{f"sampler.widen.{i}": "sampler.gru_conv_1x1" + (f"_{i + 1}" if i else "") for i in range(4)},
    **_within(_levels("sampler.same", "sampler.g") | _levels("sampler.up", "sampler.up_g"), _NORMED),
    "sampler.norm": "sampler.bn",
    "sampler.head": "sampler.conv_1x1",
}
"""The original's names by those of our modules."""
UNNORMED = re.compile(r"latent_stack\.(?:l_block\d|att_block)\..*")
"""Modules of the original without spectral norms."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 18) -> nn.Module:
    """Loads the weights as ``dgmr``, with its spectral norms folded in."""
    entries = Entries(checkpoint, "dgmr")
    _drop_other_modules(entries)
    args: dict[str, Any] = {**_sizes(entries), "horizon": horizon, "dtype": checkpoint.dtype()}
    target = meta_model(entries, "dgmr", args)
    modules = {k: m for k, m in target.named_modules() if isinstance(m, Conv2dReLUGRU | nn.Conv2d | nn.BatchNorm2d)}
    for ours, module in modules.items():
        for key, shape in _shapes(checkpoint, MODULES[ours], module).items():
            entries.take(key, shape)
        counter = entries.left.pop(f"{MODULES[ours]}.num_batches_tracked", None)  # which no forward reads
        if counter is not None and counter.dim():
            entries.add_error("of another shape", f"{MODULES[ours]}.num_batches_tracked {tuple(counter.shape)} for ()")
    gamma = entries.take("latent_stack.att_block.gamma", (1,))
    entries.finish()
    state = {"latent.4.gamma": gamma}
    for ours, module in modules.items():
        state |= {f"{ours}.{key}": value for key, value in module_parameters(checkpoint, MODULES[ours], module).items()}
    return load_weights(create_model("dgmr", **args), state)


def _is_normed(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and not UNNORMED.fullmatch(name)


def _normed_keys(checkpoint: ForeignCheckpoint, name: str) -> list[str]:
    """Returns the keys of a convolution with a spectral norm: weight, u, v and bias."""
    if any(key.endswith(".weight_orig") for key in checkpoint.state):
        ends = ("weight_orig", "weight_u", "weight_v", "bias")
    else:
        stored = "parametrizations.weight"
        ends = (f"{stored}.original", f"{stored}.0._u", f"{stored}.0._v", "bias")
    return [f"{name}.{end}" for end in ends]


def _shapes(checkpoint: ForeignCheckpoint, name: str, module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shapes that the entries of a module must have."""
    weight: Any = getattr(module, "weight", None)
    convs = {name: tuple(weight.shape)} if _is_normed(name, module) else {}
    if isinstance(module, Conv2dReLUGRU):
        width = module.widths[0]
        convs = {f"{name}.{gate}": (width, module.in_channels + width, *module.kernels[0]) for gate in GATES}
    if not convs:
        return {f"{name}.{key}": v.shape for key, v in module.state_dict().items() if v.is_floating_point()}
    shapes: dict[str, tuple[int, ...]] = {}
    for conv, shape in convs.items():
        parts = (shape, shape[:1], (math.prod(shape[1:]),), shape[:1])
        shapes |= dict(zip(_normed_keys(checkpoint, conv), parts, strict=True))
    return shapes


def module_parameters(checkpoint: ForeignCheckpoint, name: str, module: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters of a module from entries of the right shapes."""
    if isinstance(module, Conv2dReLUGRU):
        weights, biases = zip(*(_folded(checkpoint, f"{name}.{gate}") for gate in GATES), strict=True)
        weight_ih, weight_hh = torch.cat(weights).split([module.in_channels, module.widths[0]], 1)
        return {"weight_ih_l0": weight_ih, "weight_hh_l0": weight_hh, "bias_ih_l0": torch.cat(biases)}
    if _is_normed(name, module):
        return dict(zip(("weight", "bias"), _folded(checkpoint, name), strict=True))
    counter = {"num_batches_tracked": torch.tensor(0)}
    return {key: checkpoint.state.get(f"{name}.{key}", counter.get(key)) for key in module.state_dict()}  # type: ignore[arg-type]


def _folded(checkpoint: ForeignCheckpoint, name: str) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a convolution with a spectral norm, the weight divided as in use."""
    weight, u, v, bias = (checkpoint.state[key] for key in _normed_keys(checkpoint, name))
    norm = u @ weight.flatten(1) @ v
    if norm == 0 or not norm.isfinite():
        raise WeightsError(f"{checkpoint.name} has a spectral norm of {float(norm)} for {name}; download it again")
    return weight / norm, bias


def _sizes(entries: Entries) -> dict[str, int]:
    """Returns the network's sizes, of each the most common one, which one wrong entry does not change."""

    def size(*rules: tuple[str, int, Callable[[int], float]]) -> int:
        votes = [
            entries.left[m[0]].shape[axis] / scale_of_level(int(m[1]))
            for pattern, axis, scale_of_level in rules
            for m in entries.matches(pattern)
            if entries.left[m[0]].dim() > axis
        ]
        if not votes:
            entries.fail("missing", "every conditioning_stack.…, latent_stack.… and sampler.…")
        return max(1, int(statistics.mode(votes)))

    weight = r"(?:parametrizations\.weight\.original|weight_orig)"
    context = size(
        (r"conditioning_stack\.conv([1-4])\.bias", 0, lambda i: 2**i / 16),
        (r"sampler\.convGRU([1-4])\.cell\.\w+\.bias", 0, lambda i: 2 / 2**i),
    )
    frame = (rf"conditioning_stack\.d(1)\.(?:first_conv_3x3|conv_1x1)\.{weight}", 1, lambda _: 4)
    return {
        "context_channels": context,
        "latent_channels": size((r"sampler\.up_g([1-4])\.bn\d\.\w+", 0, lambda i: 2 / 2**i)),
        "noise_channels": size(
            (r"latent_stack\.l_block(1)\.(?:first_conv_3x3|conv_1x1)\.weight", 1, lambda _: 1),
            (r"latent_stack\.conv_(3)x3\.bias", 0, lambda _: 1),
        ),
        "in_chans": size(frame, (r"sampler\.conv_(1)x1\.bias", 0, lambda _: 4)),
        "input_frames": size((rf"conditioning_stack\.conv([1-4])\.{weight}", 1, lambda i: context * 2**i / 32)),
    }


def _drop_other_modules(entries: Entries) -> None:
    """Drops the discriminator, and the generator if the file contains it a second time."""
    copies = {k: k.removeprefix("generator.") for k in entries.left if k.startswith("generator.")}
    for copy, key in copies.items():
        if key in entries.left and not torch.equal(entries.left[copy], entries.left[key]):
            entries.add_error("stored twice with different values", key)
    dropped = [k for k in entries.left if k.startswith("discriminator.") or copies.get(k) in entries.left]
    for key in dropped:
        del entries.left[key]
    if dropped:
        logger.info("%s: left out, the discriminator and second copies: %s", entries.name, some(dropped))


DGMR = Source(
    name="dgmr",
    title="DGMR of Open Climate Fix, https://github.com/openclimatefix/skillful_nowcasting",
    key=r"(?:conditioning_stack|latent_stack|sampler)\.(?:conv|d\d|l_block|gru_conv|g\d|up_g)[\w.]*(?:original|weight|orig)",
    ranks=(4,),
    key_description="a convolution of its generator",
    load=load,
    options={"horizon": "frames to forecast (18)"},
)
