"""Downloads weights that other projects publish, pins size and checksum, runs the networks, and scores some.

``python -m tools.check_published [NAME ...]`` needs the network and gigabytes of disk. It loads each set of weights by
name, by default all, applies the network to random input, and writes the size and sha256 of the file to
``weights/published.toml`` if they are missing there. With ``--moving-mnist mnist_test_seq.npy`` it scores the sets of
OpenSTL on Moving MNIST and prints the error next to the published one.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import convrnn_zoo
from convrnn_zoo.pretrained.fetch import recorded_file
from convrnn_zoo.pretrained.published import FILE, PUBLISHED, Published

OPENSTL = Path(__file__).parent / "openstl.json"


def pin(text: str, published: Published, size: int, sha256: str) -> str:
    """Returns the text of ``published.toml`` with the size and checksum of a set, where it states none.

    Example:
        >>> row = '[group.sets."firenet.evreal"]\\naddress = "a.pth"\\n'
        >>> import dataclasses
        >>> bare = dataclasses.replace(PUBLISHED["firenet.evreal"], size=None, sha256="")
        >>> print(pin(row, bare, 3, "00"))
        [group.sets."firenet.evreal"]
        size = 3
        sha256 = "00"
        address = "a.pth"
        <BLANKLINE>
    """
    lines = [] if published.size else [f"size = {size}"]
    lines += [] if published.sha256 else [f'sha256 = "{sha256}"']
    header = f'[group.sets."{published.name}"]\n'
    return text.replace(header, header + "".join(f"{line}\n" for line in lines))


@torch.no_grad()
def check(name: str) -> str:
    """Loads weights by name, applies the model to random input of its size, and describes the output."""
    model = convrnn_zoo.from_pretrained(name)
    channels, height, width = model.pretrained_cfg["input_size"]
    known = {}
    if chans := getattr(model, "static_chans", 0):
        known["static"] = torch.rand(1, chans, height, width)
    if chans := getattr(model, "future_chans", 0):
        known["future"] = torch.rand(1, 30, chans, height, width)
    frames = getattr(model, "input_frames", None) or 10
    y = model(torch.rand(1, frames, channels, height, width), **known)
    if not torch.isfinite(y).all():
        raise ValueError(f"{name}: its output holds NaN or Inf")
    return f"{tuple(y.shape)}, mean {y.mean():.4f}, standard deviation {y.std():.4f}"


@torch.no_grad()
def squared_error(name: str, file: Path, count: int) -> float:
    """Returns the squared error of the first sequences of Moving MNIST, summed over the pixels of a frame."""
    model = convrnn_zoo.from_pretrained(name)
    frames = torch.from_numpy(np.load(file)[:, :count]).transpose(0, 1).unsqueeze(2).float() / 255
    errors = [(model(x[None, :10]) - x[None, 10:]).square().sum((-3, -2, -1)).mean().item() for x in frames]
    return float(np.mean(errors))


def main(argv: Sequence[str]) -> int:
    """Checks the named sets of weights; returns the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--moving-mnist", type=Path, metavar="FILE", help="score OpenSTL's sets on mnist_test_seq.npy")
    parser.add_argument("--sequences", type=int, default=10_000, help="number of sequences to score")
    args = parser.parse_args(argv)
    scores, failures = json.loads(OPENSTL.read_text(encoding="utf-8")), 0
    for name in args.names or PUBLISHED:
        published = PUBLISHED[name]
        try:
            print(f"{name}: {check(name)}", flush=True)
            size, sha256 = recorded_file(published)
            FILE.write_text(pin(FILE.read_text(encoding="utf-8"), published, size, sha256), encoding="utf-8")
            if args.moving_mnist and (epochs := re.fullmatch(r"openstl_mmnist_ep(\d+)", published.tag)):
                error = squared_error(name, args.moving_mnist, args.sequences)
                stated = scores[epochs[1]].get(published.architecture, {}).get("MSE", "none")
                print(f"{name}: MSE {error:.2f}, published {stated}", flush=True)
        except (OSError, ValueError, RuntimeError) as e:
            failures += 1
            print(f"{name}: {e}", file=sys.stderr, flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
