"""State dicts of DGMR's generator under the names of the original code, generated from our models."""

from typing import Any

import torch
from torch import Tensor

from convrnn_zoo import create_model
from convrnn_zoo.interop.dgmr import GATES, MODULES, UNNORMED
from convrnn_zoo.layers.variants import Conv2dReLUGRU


def normed(name: str, weight: Tensor, bias: Tensor, norm: float = 2.0) -> dict[str, Tensor]:
    """A convolution whose stored weight is `norm` times the one in use."""
    weight = weight * norm
    u = torch.nn.functional.normalize(torch.ones(len(weight)), dim=0)
    v = u @ weight.flatten(1)
    stored = f"{name}.parametrizations.weight"
    return {
        f"{name}.bias": bias,
        f"{stored}.original": weight,
        f"{stored}.0._u": u,
        f"{stored}.0._v": norm * v / (v @ v),
    }


def theirs(model: Any) -> dict[str, Tensor]:
    """The generator under the names of openclimatefix's code, but for the counts of batches."""
    out: dict[str, Tensor] = {}
    for ours, module in model.named_modules():
        name = MODULES.get(ours)
        if isinstance(module, Conv2dReLUGRU):
            weight = torch.cat([module.weight_ih_l0, module.weight_hh_l0], dim=1).detach()
            for gate, w, b in zip(GATES, weight.chunk(3), module.bias_ih_l0.detach().chunk(3), strict=True):
                out |= normed(f"{name}.{gate}", w, b)
        elif isinstance(module, torch.nn.Conv2d) and not UNNORMED.fullmatch(name or ""):
            out |= normed(str(name), module.weight.detach(), module.bias.detach())
        elif name:
            out |= {f"{name}.{k}": v for k, v in module.state_dict().items() if v.is_floating_point()}
    for i, convolution in enumerate(model.sampler.widen, start=1):  # built by the original code, and never used
        width = convolution.out_channels
        out |= normed(f"sampler.g{i}.conv_1x1", torch.ones(width, width, 1, 1), torch.zeros(width))
    return out | {"latent_stack.att_block.gamma": model.latent[4].gamma.detach()}


def state(**sizes: int) -> dict[str, Tensor]:
    """Returns the state dict of a small generator."""
    torch.manual_seed(0)
    small = {"context_channels": 16, "latent_channels": 32, "noise_channels": 1}
    return theirs(create_model("dgmr", **{**small, **sizes}))
