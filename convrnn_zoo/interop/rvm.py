"""Converts Robust Video Matting with MobileNetV3 or ResNet-50, without its segmentation head."""

from functools import partial
from typing import Any

from torch import nn

from ._checkpoint import ForeignCheckpoint
from ._key_map import Entries, KeyMap, Source, load_model, negate_update_gate, parameter_shapes

DECODER = {
    "aspp.map.0": "aspp.aspp1.0",
    "aspp.map.1": "aspp.aspp1.1",
    "aspp.weight": "aspp.aspp2.1",
    **{f"joins.{i}.{part}": f"decoder.decode{3 - i}.conv.{part}" for i in range(4) for part in (0, 1)},
    "last.0": "decoder.decode0.conv.3",
    "last.1": "decoder.decode0.conv.4",
    "head": "project_mat.conv",
}
"""Names of the original's modules, by the names of our modules."""
GATES = {"ih.0": (0, 1), "hh.0": (0,)}
"""The convolutions of a ConvGRU, with the positions of our gates r and z in the first one, and of n in the second."""


def mobilenet_modules() -> dict[str, str]:
    """Maps timm's names of the modules of MobileNetV3-Large to torchvision's names."""
    names = {"conv_stem": "0.0", "bn1": "0.1", "blocks.6.0.conv": "16.0", "blocks.6.0.bn1": "16.1"}
    blocks = [f"blocks.{stage}.{i}" for stage, count in enumerate((1, 2, 3, 4, 2, 3)) for i in range(count)]
    squeezed = (4, 5, 6, 11, 12, 13, 14, 15)  # numbers of the blocks with squeeze-and-excitation, from 1
    for n, block in enumerate(blocks, start=1):
        convs = ["conv_pw", "conv_dw", "conv_pwl"] if n > 1 else ["conv_dw", "conv_pw"]
        for i, conv in enumerate(convs):
            part = f"{n}.block.{i + 1 if i == 2 and n in squeezed else i}"
            names |= {f"{block}.{conv}": f"{part}.0", f"{block}.bn{i + 1}": f"{part}.1"}
        if n in squeezed:
            names |= {f"{block}.se.conv_reduce": f"{n}.block.2.fc1", f"{block}.se.conv_expand": f"{n}.block.2.fc2"}
    return {f"encoder.model.{ours}": f"backbone.features.{theirs}" for ours, theirs in names.items()}


def load(checkpoint: ForeignCheckpoint) -> nn.Module:
    """Loads weights into ``rvm_mobilenetv3`` or ``rvm_resnet50``, with the guided filter if the checkpoint has one."""
    entries = Entries(checkpoint, "rvm")
    is_resnet = bool(entries.matches(r"backbone\.layer\d\..*"))
    name = "rvm_resnet50" if is_resnet else "rvm_mobilenetv3"
    entries.drop([m[0] for m in entries.matches(r"project_seg\..*")], "the head for segmentation")

    def width(module: str) -> int:
        size = entries.width({f"{module}.{end}": 1 for end in ("0.weight", "1.weight", "1.bias")})
        return size + size % 2  # of which a ConvGRU reads half

    widths = [width(f"decoder.decode{3 - i}.conv") for i in range(4)]
    sizes: dict[str, Any] = {"num_classes": 4, "aspp_channels": width("aspp.aspp1"), "widths": widths}
    sizes["refiner"] = bool(entries.matches(r"refiner\..*"))
    shapes, maps = parameter_shapes(entries, name, sizes), []
    others = {key.rpartition(".")[0] for key in shapes if key.startswith(("encoder.", "refiner."))}
    modules = DECODER | {ours: ours.replace("encoder.model.", "backbone.") for ours in others}
    modules |= {} if is_resnet else mobilenet_modules()
    for key in shapes:
        module, _, end = key.rpartition(".")
        if module in modules:
            maps.append(KeyMap(f"{modules[module]}.{end}", key))
    for i in range(4):
        maps += KeyMap.joint(f"decoder.decode{4 - i}.gru", f"grus.{i}.rnn.", GATES)
    return load_model(entries, name, sizes, maps, shapes=shapes, adapt=partial(negate_update_gate, prefix="grus."))


RVM = Source(
    name="rvm",
    title="Robust Video Matting, https://github.com/PeterL1n/RobustVideoMatting",
    key=r"decoder\.decode[1-4]\.gru\.[ih]h\.0\.weight",
    ranks=(4,),
    key_description="a convolution of a ConvGRU of its decoder",
    load=load,
    options={},
)
