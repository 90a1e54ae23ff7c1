"""Converts a file of weights that others publish, as a program with a process of its own.

``python -m convrnn_zoo.interop.published METADATA SHA256 FILE DIRECTORY`` writes the model with its metadata to
DIRECTORY. :mod:`convrnn_zoo.pretrained.fetch` runs it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..hub import save_pretrained
from ..models import create_model
from ..pretrained.errors import WeightsError
from ..pretrained.metadata import WeightsMetadata
from ..pretrained.published import Published
from ..pretrained.state_dict import to_safetensors
from ._conversion import load


def convert_published(published: Published, sha256: str, file: Path, directory: Path) -> None:
    """Writes the converted weights of `file`, which has this checksum, with their metadata to a new directory.

    Raises:
        WeightsError: the file is not of the architecture and sizes that the metadata states.
    """
    model: Any = load(published.converter, file, **published.options)
    architecture = getattr(model, "pretrained_cfg", {}).get("architecture", type(model).__name__)
    if architecture != published.architecture:
        raise WeightsError(f"the file is of {architecture}, expected {published.architecture}")
    like = create_model(architecture, device="meta", **published.model_args)
    shapes, expected = ({k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (model, like))
    if different := sorted(k for k in shapes.keys() | expected.keys() if shapes.get(k) != expected.get(k)):
        key = different[0]
        raise WeightsError(f"the file has {key} {shapes.get(key, 'not')}, expected {expected.get(key, 'none')}")
    args = {k: v for k, v in model.model_args.items() if k not in ("in_chans", "num_classes")}
    chans, (height, width) = model.in_chans, args.get("img_size") or ("H", "W")
    member = f"#{published.member}" if published.member else ""
    origin = {"address": published.address + member, "sha256": sha256, "licence": published.license_text}
    model.metadata = WeightsMetadata(
        name=published.name, sha256=to_safetensors(model.state_dict(), origin)[1], model_args=args, origin=origin,
        num_params=sum(p.numel() for p in model.parameters()), input_shape=("T", chans, height, width), in_chans=chans,
        num_classes=model.num_classes, label_names=(), mean=(0.0,) * chans, std=(1.0,) * chans, task="",
        dataset=published.dataset, dataset_url=published.dataset_url, metrics=(), recipe="", license=published.license,
        description=f"Converted from weights that {published.owner} publishes at {published.address}"
        f"{', ' + published.member if published.member else ''} (sha256 {sha256}). Licence: {published.license_text}; "
        f"{published.license_source}.",
        citation=f"{published.paper}, {published.paper_url}",
        remarks=". ".join(filter(None, (f"Not verified: {published.unverified}", published.remarks))),
        preprocessing=getattr(model, "preprocessing", None),
    )  # fmt: skip
    model.pretrained_cfg["license"] = published.license
    save_pretrained(model, directory)


if __name__ == "__main__":
    metadata, sha256, file, directory = sys.argv[1:]
    try:
        convert_published(Published(**json.loads(metadata)), sha256, Path(file), Path(directory))
    except (OSError, ValueError, TypeError) as e:
        sys.exit(" ".join(str(e).split()))
