"""DGMR's generator in openclimatefix's code; its spectral norms are folded into the weights.

In use, each normed weight W is divided by ``u · (W v)``, u and v being stored beside it. torch has had two ways of
spelling that, and both are read. https://github.com/openclimatefix/skillful_nowcasting
"""

import logging
import math
import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.relugru import Conv2dReLUGRU
from ..models import create_model
from ._checkpoint import ForeignCheckpoint, some
from ._entries import Entries, fill
from ._source import Source

logger = logging.getLogger("convrnn_zoo")

Names = dict[str, str]
BLOCK: Names = {"beside": "conv_1x1", "first": "first_conv_3x3", "last": "last_conv_3x3"}
ATTENTION: Names = {part: part for part in ("query", "key", "value", "gamma")} | {"last": "last_conv"}
GATES = ("read_gate_conv", "update_gate_conv", "output_conv")
"""The convolutions of its ConvGRU in our order r, z, n; its update keeps the old state, as our z does."""


def _within(blocks: Names, parts: Names) -> Names:
    return {f"{ours}.{a}": f"{theirs}.{b}" for ours, theirs in blocks.items() for a, b in parts.items()}


def _levels(ours: str, theirs: str) -> Names:
    return {f"{ours}.{i}": f"{theirs}{i + 1}" for i in range(4)}


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
"""Modules of the original whose convolutions have no spectral norm."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 18) -> nn.Module:
    """The zoo's ``dgmr`` with these weights, its spectral norms folded in.

    Args:
        horizon: frames to forecast when the call does not say.
    """
    entries = Entries(checkpoint, "dgmr")
    _drop_beside(entries)
    sizes = _sizes(entries)
    args: dict[str, Any] = {**sizes, "horizon": horizon, "dtype": checkpoint.dtype()}
    target = create_model("dgmr", device="meta", **args)
    state: dict[str, Tensor] = {}
    for ours, module in target.named_modules():
        if isinstance(module, Conv2dReLUGRU):
            taken = folded_gru(entries, MODULES[ours], module)
        elif isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            taken = _taken(entries, MODULES[ours], module)
        else:
            continue
        state |= {f"{ours}.{key}": value for key, value in taken.items()}
    state["latent.4.gamma"] = entries.take("latent_stack.att_block.gamma", (1,))
    entries.done()
    return fill(create_model("dgmr", **args), state)


def folded_gru(entries: Entries, name: str, layer: Conv2dReLUGRU) -> dict[str, Tensor]:
    """The parameters of a :class:`Conv2dReLUGRU` of these sizes."""
    width, below = layer.widths[0], layer.in_channels
    convs = [folded(entries, f"{name}.{gate}", (width, below + width, *layer.kernels[0])) for gate in GATES]
    weight, bias = torch.cat([w for w, _ in convs]), torch.cat([b for _, b in convs])
    return {"weight_ih_l0": weight[:, :below], "weight_hh_l0": weight[:, below:], "bias_ih_l0": bias}


def folded(entries: Entries, name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with a spectral norm, the weight divided as in use."""
    old = any(key.endswith(".weight_orig") for key in entries.checkpoint.state)
    stored = "weight_{}" if old else "parametrizations.weight.0._{}"
    weight = entries.take(f"{name}.{'weight_orig' if old else 'parametrizations.weight.original'}", shape)
    u = entries.take(f"{name}.{stored.format('u')}", shape[:1])
    v = entries.take(f"{name}.{stored.format('v')}", (math.prod(shape[1:]),))
    norm = u @ weight.flatten(1) @ v
    if norm == 0 and not entries.faults:
        entries.fault("with a spectral norm of zero", name)
    return weight / norm, entries.take(f"{name}.bias", shape[:1])


def _taken(entries: Entries, name: str, module: nn.Conv2d | nn.BatchNorm2d) -> dict[str, Tensor]:
    if isinstance(module, nn.Conv2d) and not UNNORMED.fullmatch(name):
        return dict(zip(("weight", "bias"), folded(entries, name, tuple(module.weight.shape)), strict=True))
    wanted = {key: value for key, value in module.state_dict().items() if value.is_floating_point()}
    taken = {key: entries.take(f"{name}.{key}", tuple(value.shape)) for key, value in wanted.items()}
    if isinstance(module, nn.BatchNorm2d):
        # How many batches it has seen: nothing reads that, and it is no weight.
        taken["num_batches_tracked"] = entries.left.pop(f"{name}.num_batches_tracked", torch.tensor(0))
    return taken


def _sizes(entries: Entries) -> dict[str, int]:
    """The network's sizes by the commonest of what its entries say: one of a wrong size is not the measure of all."""

    def size(*told: tuple[str, int, Callable[[int], float]]) -> int:
        votes = [
            entries.left[m[0]].shape[axis] / of_level(int(m[1]))
            for pattern, axis, of_level in told
            for m in entries.having(pattern)
            if entries.left[m[0]].dim() > axis
        ]
        if not votes:
            entries.fail("missing", "every conditioning_stack.…, latent_stack.… and sampler.…")
        return max(1, int(statistics.mode(votes)))

    weight = r"(?:parametrizations\.weight\.original|weight_orig)"
    context = size(
        (r"conditioning_stack\.conv(\d)\.bias", 0, lambda i: 2**i / 16),
        (r"sampler\.convGRU(\d)\.cell\.\w+\.bias", 0, lambda i: 2 / 2**i),
    )
    frame = (rf"conditioning_stack\.d(1)\.(?:first_conv_3x3|conv_1x1)\.{weight}", 1, lambda _: 4)
    return {
        "context_channels": context,
        "latent_channels": size((r"sampler\.up_g(\d)\.bn\d\.\w+", 0, lambda i: 2 / 2**i)),
        "noise_channels": size(
            (r"latent_stack\.l_block(1)\.(?:first_conv_3x3|conv_1x1)\.weight", 1, lambda _: 1),
            (r"latent_stack\.conv_(3)x3\.bias", 0, lambda _: 1),
        ),
        "in_chans": size(frame, (r"sampler\.conv_(1)x1\.bias", 0, lambda _: 4)),
        "input_frames": size((rf"conditioning_stack\.conv(\d)\.{weight}", 1, lambda i: context * 2**i / 32)),
    }


def _drop_beside(entries: Entries) -> None:
    """Leaves the discriminator out, and the generator where it is there a second time."""
    twice = {k: k.removeprefix("generator.") for k in entries.left if k.startswith("generator.")}
    for key, same in twice.items():
        if same in entries.left and not torch.equal(entries.left[key], entries.left[same]):
            entries.fault("there twice with other values", same)
    beside = [k for k in entries.left if k.startswith("discriminator.") or twice.get(k) in entries.left]
    for key in beside:
        del entries.left[key]
    if beside:
        logger.info("%s: left out, the discriminator and what is there twice: %s", entries.origin, some(beside))


DGMR = Source(
    name="dgmr",
    title="DGMR of Open Climate Fix, https://github.com/openclimatefix/skillful_nowcasting",
    key=r"(?:conditioning_stack|latent_stack|sampler)\.(?:conv|d\d|l_block|gru_conv|g\d|up_g)[\w.]*(?:original|weight|orig)",
    ranks=(4,),
    knows="a convolution of its generator",
    load=load,
    options={"horizon": "frames to forecast (18)"},
)
