"""Converts checkpoints of DGMR's generator from openclimatefix, and folds its spectral norms into the weights.

In each forward pass, the original divides each spectrally normalised weight W by ``u · (W v)``. Checkpoints contain W,
u and v, under the names of torch's old or new implementation of spectral norms.
"""

import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .. import _checks as check
from ..pretrained.errors import WeightsError
from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, load_model, parameter_shapes

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
"""Names of the original's modules, by the names of our modules and parameters."""
UNNORMED = re.compile(r"latent_stack\.(?:l_block\d|att_block)\..*")
"""Modules of the original without spectral norms."""


def load(checkpoint: ForeignCheckpoint, *, horizon: int = 18) -> nn.Module:
    """Loads the weights into the model ``dgmr``, with the spectral norms folded in."""
    entries = Entries(checkpoint, "dgmr")
    copies = {k: k.removeprefix("generator.") for k in entries.left if k.startswith("generator.")}
    for copy, key in copies.items():
        if key in entries.left and not torch.equal(entries.left[copy], entries.left[key]):
            entries.errors["stored twice with different values"].append(key)
    dropped = [k for k in entries.left if k.startswith("discriminator.") or copies.get(k) in entries.left]
    entries.drop(dropped, "the discriminator and second copies")
    entries.drop([m[0] for m in entries.matches(r"sampler\.g\d\.conv_1x1\..*")], "never used")
    sizes: dict[str, Any] = {**_sizes(entries), "horizon": horizon}
    shapes = parameter_shapes(entries, "dgmr", sizes)
    weight = "weight_orig" if entries.matches(r".*\.weight_orig") else "parametrizations.weight.original"
    divide_by_norms(entries, weight)
    keys = [key for key in shapes if not key.endswith("weight_hh_l0")]  # which is in weight_xh
    return load_model(entries, "dgmr", sizes, [m for key in keys for m in key_maps(key, weight)], shapes=shapes)


def key_maps(key: str, weight: str) -> list[KeyMap]:
    """Returns the key maps to our parameter `key`; `weight` is the suffix of the weights with a spectral norm."""
    module, _, end = key.rpartition(".")
    if key in MODULES:
        return [KeyMap(MODULES[key], key)]
    source = MODULES[module]
    if end.endswith("_l0"):
        theirs, ours = (weight, "weight_xh_l0") if end == "weight_ih_l0" else ("bias", end)
        return [KeyMap(f"{source}.{gate}.{theirs}", f"{module}.{ours}") for gate in GATES]
    is_normed = end == "weight" and "norm" not in module and not UNNORMED.fullmatch(source)
    return [KeyMap(f"{source}.{weight if is_normed else end}", key)]


def divide_by_norms(entries: Entries, end: str) -> None:
    """Divides each spectrally normalised weight W, which has the suffix `end`, by ``u · (W v)``; takes u and v."""
    stem = end.replace("orig", "") if end == "weight_orig" else end.replace("original", "0._")
    for name in {m[1] for m in entries.matches(rf"(.*)\.(?:{re.escape(end)}|{re.escape(stem)}[uv])")}:
        value = entries.left.get(f"{name}.{end}", torch.zeros(()))
        rows, columns = (len(value), value[:1].numel()) if value.dim() > 1 else (None, None)
        u, v = entries.take(f"{name}.{stem}u", (rows,)), entries.take(f"{name}.{stem}v", (columns,))
        if rows is None or entries.errors or {u.dtype, v.dtype} != {value.dtype}:
            continue  # finish() reports the error
        norm = u @ value.flatten(1) @ v
        if norm == 0 or not norm.isfinite():
            raise WeightsError(f"{entries.name} has a spectral norm of {float(norm)} for {name}; download it again")
        entries.left[f"{name}.{end}"] = value / norm


def _sizes(entries: Entries) -> dict[str, int]:
    """Returns the sizes of the model: the most common ones among all entries, so that one wrong entry is ignored."""

    def size(*rules: tuple[str, int, Callable[[int], float]]) -> int:
        votes = [
            entries.left[m[0]].shape[axis] / scale_of_level(int(m[1]))
            for pattern, axis, scale_of_level in rules
            for m in entries.matches(pattern)
            if entries.left[m[0]].dim() > axis
        ]
        if not votes:
            entries.fail("every conditioning_stack.…, latent_stack.… and sampler.…")
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


DGMR = Source(
    name="dgmr",
    title="DGMR of Open Climate Fix, https://github.com/openclimatefix/skillful_nowcasting",
    key=r"(?:conditioning_stack|latent_stack|sampler)\.(?:conv|d\d|l_block|gru_conv|g\d|up_g)[\w.]*(?:original|weight|orig)",
    ranks=(4,),
    key_description="a convolution of its generator",
    load=load,
    options={"horizon": "frames to forecast (18)"},
    checks={"horizon": check.positive_int},
)
