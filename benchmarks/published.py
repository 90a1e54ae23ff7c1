"""Published networks at their published widths, compared with the original code where a checkout is passed.

``python -m benchmarks.published --original convgru_irene=DIR --original dgmr=DIR -o benchmarks/published.json``

The original has random weights. Our converter reads them, and the outputs are compared before anything is timed.
"""

import importlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

import click
import torch
from torch import Tensor, nn

from convrnn_zoo import create_model, interop

from .measure import CLOCKS, TASKS, interleaved
from .memory import in_a_fresh_process, rise
from .openstl import CLASSES, OPTIONS, OpenSTL
from .peers import load_file


class Published(NamedTuple):
    """Configuration of one measurement: input frames, forecast frames, map size and the original network.

    A network without forecasts, which returns a map for each frame, has the horizon 0.
    """

    inputs: int
    horizon: int
    size: int
    original: Callable[[Path, int, int], nn.Module]
    """Builds the original from a checkout, a size and a horizon. It takes frames ``(1, T, C, H, W)``."""
    source: str
    """Name of the converter."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Options of the converter that the weights do not determine."""
    model: Mapping[str, Any] = MappingProxyType({})
    """Options of our network."""
    channels: int = 1

    def horizons(self) -> dict[str, Any]:
        """Returns the option `horizon` of networks that forecast."""
        return {"horizon": self.horizon} if self.horizon else {}


class IRENE(nn.Module):
    """Original network without noise."""

    def __init__(self, directory: Path, horizon: int) -> None:
        super().__init__()
        original = load_file("irene_original", directory / "convgru-ens" / "model.py")
        self.model = original.EncoderDecoder(1, num_blocks=5)
        self.horizon = horizon

    def forward(self, x: Tensor) -> Tensor:
        """Returns the forecast."""
        return self.model(x, self.horizon)


class DGMR(nn.Module):
    """Original generator with zero noise."""

    def __init__(self, directory: Path, size: int, horizon: int) -> None:
        super().__init__()
        # The original __init__ imports the trainer, which is not needed here.
        package = types.ModuleType("dgmr")
        package.__path__ = [str(directory / "dgmr")]
        sys.modules["dgmr"] = package
        common, generators = (importlib.import_module(f"dgmr.{name}") for name in ("common", "generators"))
        edge = size // 32
        self.model = generators.Generator(
            common.ContextConditioningStack(1, 384),
            common.LatentConditioningStack((8, edge, edge), 768),
            generators.Sampler(horizon, 768, 384),
        )
        zeros = torch.zeros(8, edge, edge, 1)
        self.model.latent_stack.distribution = types.SimpleNamespace(sample=lambda shape: zeros)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the forecast."""
        return self.model(x)


class E2VID(nn.Module):
    """Original recurrent network with the configuration of its published weights, applied frame by frame."""

    def __init__(self, directory: Path, size: int, horizon: int) -> None:
        super().__init__()
        sys.path.insert(0, str(directory))
        config = {"num_bins": 5, "num_encoders": 3, "norm": "BN", "use_upsample_conv": True}
        self.model = importlib.import_module("model.model").E2VIDRecurrent(config)

    def forward(self, x: Tensor) -> Tensor:
        """Returns an image for each voxel grid."""
        for part in self.model.modules():
            if hasattr(part, "zero_tensors"):
                part.zero_tensors = {}  # made in inference mode, training cannot read them
        images, state = [], None
        for grid in x.unbind(1):
            image, state = self.model(grid, state)
            images.append(image)
        return torch.stack(images, 1)


class DigitalTyphoon(nn.Module):
    """Original network, which forecasts one frame, with random peephole weights in place of zeros."""

    def __init__(self, directory: Path, size: int, horizon: int) -> None:
        super().__init__()
        sys.path.insert(0, str(directory / "forecasting"))
        original = importlib.import_module("ConvLSTM.Seq2Seq").Seq2Seq
        self.model = original(1, 128, 3, 1, "relu", (size, size), 3)
        for name, weight in self.model.named_parameters():
            if ".W_c" in name:
                nn.init.normal_(weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the forecast."""
        return self.model(x.transpose(1, 2)).unsqueeze(1)


NETWORKS = {
    "convgru_irene": Published(6, 12, 64, lambda path, _, horizon: IRENE(path, horizon), "irene"),
    "dgmr": Published(4, 18, 64, DGMR, "dgmr"),
    "e2vid": Published(8, 0, 128, E2VID, "e2vid", {"final_activation": "sigmoid"}, channels=5),
    "convlstm_digital_typhoon": Published(
        12, 1, 64, DigitalTyphoon, "digital_typhoon", model=MappingProxyType({"img_size": 64})
    ),
    **{
        name: Published(
            4, 4, 64, partial(OpenSTL, name), "openstl", {"patch_size": patch_size, **OPTIONS.get(name, {})}
        )
        for name, (_, _, patch_size) in CLASSES.items()
    },
}


def build_network(name: str, implementation: str, directory: Path | None) -> Callable[[Tensor], Tensor]:
    """Builds the network as ``ours``, ``recomputing`` or ``original``."""
    torch.manual_seed(0)
    case = NETWORKS[name]
    if implementation == "original" and directory is not None:
        return case.original(directory, case.size, case.horizon).eval()
    model = create_model(name, **case.horizons(), **case.model).eval()
    model.set_grad_checkpointing(implementation == "recomputing")
    return model


def frames(name: str) -> Tensor:
    """Returns the input frames of a network."""
    case = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, case.inputs, case.channels, case.size, case.size, generator=generator)


def difference(name: str, directory: Path) -> float:
    """Returns the largest difference from the original's output, divided by the standard deviation of that output."""
    original: Any = build_network(name, "original", directory)
    case, state = NETWORKS[name], original.model.state_dict()
    ours = interop.load(case.source, state, **case.horizons(), **case.options).eval()
    x = frames(name)
    with torch.no_grad():
        theirs = original(x)
        return float((ours(x) - theirs).abs().max() / theirs.std())


def peak(name: str, implementation: str, directory: Path | None, threads: int) -> int:
    """Returns the bytes by which this process grows in one training step."""
    torch.set_num_threads(threads)
    return rise(TASKS["training"](build_network(name, implementation, directory), frames(name)))


def measured(name: str, directory: Path | None, rounds: int, clock: str) -> dict[str, Any]:
    """Measures one network: seconds of inference and of a training step, and peak memory."""
    case = NETWORKS[name]
    implementations = ["ours", "recomputing", *(["original"] if directory else [])]
    result: dict[str, Any] = {"inputs": case.inputs, "horizon": case.horizon, "size": case.size, "seconds": {}}
    if directory:
        result["difference"] = difference(name, directory)
    networks = {implementation: build_network(name, implementation, directory) for implementation in implementations}
    x = frames(name)
    for task, make in TASKS.items():
        these = {s: make(f, x) for s, f in networks.items() if task == "training" or s != "recomputing"}
        times = interleaved(these, rounds, CLOCKS[clock])
        result["seconds"][task] = {implementation: round(median(t), 4) for implementation, t in times.items()}
    del networks
    threads = torch.get_num_threads()
    result["peak"] = {s: in_a_fresh_process(peak, name, s, directory, threads) for s in implementations}
    return result


@click.command()
@click.option("--original", multiple=True, metavar="NAME=DIR", help="A checkout of the original code. Repeatable.")
@click.option(
    "--name", "names", multiple=True, type=click.Choice(list(NETWORKS)), help="Only this network. Repeatable."
)
@click.option("--rounds", default=3, show_default=True, help="Runs of each network.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch.")
@click.option("--clock", default="cpu", show_default=True, type=click.Choice(list(CLOCKS)), help="Clock of the timing.")
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path), help="File to write; the figures are also printed."
)
def main(
    original: tuple[str, ...], names: tuple[str, ...], rounds: int, threads: int, clock: str, out: Path | None
) -> None:
    """Measure published networks at their published widths."""
    from .measure import machine

    torch.set_num_threads(threads)
    checkouts = {name: Path(path) for name, _, path in (o.partition("=") for o in original)}
    if unknown := sorted(checkouts.keys() - NETWORKS.keys()):
        raise click.BadParameter(
            f"unknown networks: {', '.join(unknown)}; expected some of {', '.join(NETWORKS)}", param_hint="original"
        )
    result: dict[str, Any] = {"machine": machine(clock), "rounds": rounds, "networks": {}}
    for name in names or NETWORKS:
        result["networks"][name] = measured(name, checkouts.get(name), rounds, clock)
        click.echo(f"{name}: {json.dumps(result['networks'][name])}")
        if out:  # after each network, since each takes minutes
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
