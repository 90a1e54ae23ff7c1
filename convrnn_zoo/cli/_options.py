"""Options that several commands share, their types, and what commands do with them."""

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from .._hints import suggest
from .._stores import Place, Store, find_place
from ..data.readers import ARRAY_READERS
from ..data.readers.sequences import RECORDING_READERS
from ..models import ZooModel, from_pretrained
from ..models.factory import split_address
from ..pretrained.registry import weight_names

ARRAYS = (*ARRAY_READERS, *RECORDING_READERS)
"""Suffixes of files of arrays, all of which are read if their folder is the input of a command."""


class Choice(click.Choice[str]):
    """One of several words. A misspelt word is answered with a suggestion."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return f"{value!r} is not a valid choice; {suggest(str(value), map(str, self.choices))}"


class NumberList(click.ParamType):
    """Numbers that are separated by commas, such as ``0.5,5``."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in str(value).split(",")) if isinstance(value, str) else tuple(value)
        except ValueError:
            numbers = ()
        if not numbers or not all(map(math.isfinite, numbers)):
            self.fail(f"{value!r} must be numbers that are separated by commas, such as 0.5,5")
        return numbers


class FiniteRange(click.FloatRange):
    """A number in a range that is not NaN, which click lets through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number")
        return number


class FilePath(click.Path):
    """Path of a file or directory; an empty one, such as of an unset variable, is not the current directory.

    With `takes_address`, it may be the address of a Zarr store; otherwise an address is an error.
    """

    def __init__(self, takes_address: bool = False, **kwargs: Any) -> None:
        super().__init__(path_type=Path, **kwargs)
        self.takes_address = takes_address

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty; pass . for the current directory")
        try:
            place = find_place(value)
        except ValueError as e:
            self.fail(str(e))
        if isinstance(place, Store):
            return place if self.takes_address else self.fail(f"{place} is an address; pass a local path")
        return super().convert(value, param, ctx)


class Device(click.ParamType):
    """Device of torch that this machine has, such as ``cpu`` or ``cuda:1``."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> torch.device:
        try:
            device = torch.device(value)
            if device.type == "meta":
                raise RuntimeError("it has no memory")
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError, ValueError, NotImplementedError) as e:
            why = str(e).splitlines()[0].partition(". ")[0]
            self.fail(f"{value!r} cannot be used ({why}); pass cpu, cuda, cuda:1, mps or xpu")
        return device


def choose_device(
    ctx: click.Context | None, param: click.Parameter | None, device: torch.device | None
) -> torch.device:
    """Returns the device of ``--device``. Without it, returns an accelerator and reports it, or else the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    is_quiet = ctx is not None and ctx.params.get("quiet")
    if device is None and accelerator is not None and not is_quiet:
        click.echo(f"device: {accelerator}; --device cpu computes without it", err=True)
    return device or accelerator or torch.device("cpu")


_DEVICE: Any = {"type": Device(), "show_default": "an accelerator, if there is one", "help": "Device to compute on."}
device_option = click.option("--device", callback=choose_device, **_DEVICE)
training_device_option = click.option("--device", **_DEVICE)
"""Option of training, where a launcher may choose the devices of several processes."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress bars and no notes.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads on the CPU [default: as torch chooses, by OMP_NUM_THREADS or the number of cores].",
)
data_option = click.option(
    "--data", type=FilePath(True), help="File or directory of the data, or the address of a Zarr store."
)


def local_path(weights: str) -> str:
    """Returns the path if WEIGHTS is a local directory or metadata file; otherwise an empty string."""
    scheme, location = split_address(weights)
    return location if scheme == "local-dir" else ""


def load_model(weights: str, quiet: bool, **kwargs: Any) -> ZooModel:
    """Loads a model; reports the weights on stderr if `weights` is an architecture with several."""
    model: ZooModel = from_pretrained(weights, **kwargs)
    default, *others = weight_names(weights) or [weights]
    if others and not quiet and model.metadata and model.metadata.name == default:
        click.echo(f"{weights}: its default weights {default} are used; others: {', '.join(others)}", err=True)
    return model


def check_not_input(out: Place, inputs: Iterable[Place], weights: str = "") -> None:
    """Raises ValueError if writing `out` overwrites an input or a file of `weights`, or adds to an input folder."""
    if out in (inputs := list(inputs)):
        raise ValueError(f"{out} is read and would be overwritten; write to another store")
    if isinstance(out, Store):
        return
    files = [file for file in inputs if isinstance(file, Path)]
    path, names = out.resolve(), ("", "config.json", "metadata.json") if weights else ()
    if path in {file.resolve() for file in (*files, *(Path(weights, name).expanduser() for name in names))}:
        raise ValueError(f"{out} is read and would be overwritten; write to another file")
    for folder in files:
        if not folder.is_dir() or folder.resolve() not in path.parents:
            continue
        is_data = folder.suffix == ".zarr" or out.suffix in (".png", ".gif", ".mp4")
        is_written = out.suffix.lower() in (".npy", ".npz", ".nc", ".zarr", ".csv")
        if is_data or (is_written and any(file.suffix.lower() in ARRAYS for file in folder.rglob("*"))):
            raise ValueError(f"{out} would be read as a part of {folder} the next time; write to another directory")


def set_threads(count: int | None) -> None:
    """Sets torch's number of threads to the value of ``--threads``, if there is one."""
    if count is not None:
        torch.set_num_threads(count)


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the arguments WEIGHTS and FILE..., and the options of commands that apply a model to files.

    These are ``--json``, ``--device``, ``--threads`` and ``--quiet``, and ``--dtype`` and ``-o`` if the command has
    them. The command receives the model as `model`, in place of the device and the dtype.
    """

    @functools.wraps(command)
    def wrapper(
        weights: str,
        files: tuple[Path, ...],
        output: Path | None,
        device: torch.device,
        quiet: bool,
        dtype: str | None = None,
        **arguments: Any,
    ) -> None:
        if output is not None:
            check_not_input(output, files, local_path(weights))
        model = load_model(weights, quiet, dtype=getattr(torch, dtype) if dtype else None).to(device)
        set_threads(arguments["threads"])
        command(model=model, weights=weights, files=files, output=output, quiet=quiet, **arguments)

    paths = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FilePath(True))
    for option in (quiet_option, threads_option, device_option, json_option, paths, click.argument("weights")):
        wrapper = option(wrapper)
    return wrapper


def only_one(ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> Any:
    """Returns the value of an option, or raises BadParameter for several; click would silently use the last one."""
    if len(values) > 1:
        raise click.BadParameter(f"expected one value, got {len(values)}; run the command once for each")
    return values[0] if values else None


def parse_selection(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    """Returns the selection of ``DIM=VALUE`` and ``DIM=FIRST,LAST`` as a dictionary, or None without values.

    Example:
        >>> parse_selection(None, None, ("realization=0", "lat=50,55.5", "run=2020-06-01T06:00"))
        {'realization': 0, 'lat': [50, 55.5], 'run': '2020-06-01T06:00'}
    """
    selection = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not name or not sign or not value:
            raise click.BadParameter(f"{text!r} must be a dimension and a value, such as realization=0 or lat=50,55")
        parts = [_parse_number(part.strip()) for part in value.split(",")]
        if name.strip() in selection:
            raise click.BadParameter(f"{name.strip()} is set twice; pass it once")
        selection[name.strip()] = parts if len(parts) > 1 else parts[0]
    return selection or None


def _parse_number(text: str) -> int | float | str:
    if re.fullmatch(r"0\d+", text):  # a label such as member 001
        return text
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def output_path(
    help: str, name: str = "output", file_okay: bool = True, dir_okay: bool = True, address: bool = False, **kwargs: Any
) -> Any:
    """Returns the option ``-o/--output`` for a file or a directory to write, as the argument `name` of a command."""
    path = FilePath(address, file_okay=file_okay, dir_okay=dir_okay)
    return click.option("-o", "--output", name, type=path, help=help, **kwargs)


output_file = partial(output_path, dir_okay=False)
output_directory = partial(output_path, file_okay=False)
WEIGHTS_EPILOG = (
    "WEIGHTS are weights of the zoo (architecture.tag, or architecture for its default weights), the directory or "
    "metadata file of a training run, or a repository of the Hugging Face Hub (hf-hub:OWNER/REPO)."
)
"""Explanation of the argument WEIGHTS below the help of a command."""
