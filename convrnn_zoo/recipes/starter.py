"""Starting recipes for a model and a user's files: a template, the facts that the files state, and comments."""

import inspect
import shlex
from pathlib import Path
from typing import Any

from ..data import ReadOptions, labelled_frames, open_frames, read_dataset
from ..data.datasets.frame_sequences import time_bounds
from ..data.files import check_exists, naming
from ..data.formats import find_labelled
from ..data.formats.radar import COARSEN, find_format
from ..data.frames import ENCODINGS, FLOOR, ROLES, TOP
from ..models import ConvRNNModel, Forecaster, VideoModel, create_model, from_pretrained
from ..models.base.classifier import Classifier
from ..values.labels.form import choose_variable
from ..values.log_mel import LogMel
from ..values.preprocessing import Encoding, Preprocessing
from ..values.units import FASTEST_RAIN, is_rain, rain_rate
from ._toml import read_toml
from .fields import format_recipe
from .recipe import NEED_VALIDATION, RECIPES, Recipe, find_recipe

TEXTS = ("weights", "description", "remarks", "citation", "init_from", "test_sequences")
"""Fields of an existing recipe that a starting recipe does not copy."""
FINE_TUNING: dict[str, dict[str, Any]] = {
    "forecaster": {"optimizer": "adam", "lr": 1e-4, "max_steps": 200, "checkpoint_every": 50, "cycles": ()},
    "classifier": {"lr": 3e-4, "epochs": 10},
}
"""Settings that change trained weights little: a learning rate of 0.02 would destroy them in a few updates."""
SET_BY_DATA = ("in_chans", "num_classes", "out_chans", "static_chans", "future_chans", "horizon")
"""Arguments of a model that follow from the data and from other keys of a recipe."""
MAIN_ARGUMENTS = ("hidden_channels", "num_layers", "kernel_size", "patch_size", "num_levels", "bidirectional")
"""Arguments of networks that the comment of ``[model]`` names."""


def starting_recipe(name: str, data: Path | None = None, init_from: str = "", file: str = "FILE.toml") -> str:
    """Returns the text of a recipe for a model and a user's files.

    Args:
        name: an architecture; a recipe of the package, whose values are copied; or "" for that of `init_from`.
        data: file or directory that the table ``[data]`` describes; without it, the table has placeholders.
        init_from: weights to fine-tune. The recipe then has a small learning rate and few updates.
        file: name of the file that the text will be written to, for the command in its first line.
    """
    source = from_pretrained(init_from) if init_from else None
    recipe = find_recipe(source) if source else Recipe.read(name) if name in RECIPES else None
    architecture = source.pretrained_cfg["architecture"] if source else recipe.architecture if recipe else name
    if source and name not in ("", architecture):
        raise ValueError(f"{init_from} are weights of {architecture}, not of {name}; leave out the name")
    left_out = (*TEXTS, "seeds") if source else TEXTS
    settings = {k: v for k, v in recipe.to_table().items() if k not in left_out} if recipe else {}
    if source and not recipe:
        settings["model"] = {k: v for k, v in source.model_args.items() if k not in SET_BY_DATA}
    model = create_model(architecture, **settings.get("model", {}), device="meta")
    if not isinstance(model, Forecaster | Classifier):
        raise ValueError(
            f"no recipe trains {architecture}; choose a forecaster, such as convgru_forecaster, or a classifier"
        )
    kind = "forecaster" if isinstance(model, Forecaster) else "classifier"
    is_nowcast = hasattr(model, "exceedance")
    template = read_toml(Path(__file__).parent / f"_{'nowcast' if is_nowcast else kind}.toml")
    if isinstance(model, ConvRNNModel) and model.ndim == 1:  # sequences have maps of one pixel
        template["model"] = {"kernel_size": 1}
    values = {"weights": f"{architecture}.mine", **template, **settings}
    if source:
        values |= {"init_from": init_from, **FINE_TUNING[kind]}
    if data is not None:
        if kind == "classifier":
            values["data"] = _describe_labelled(data, model, source.front_end if source else None)
        else:
            rain = Preprocessing(encoding="log", unit="mm/h", floor=FLOOR, top=TOP) if is_nowcast else None
            values["data"] = _describe_frames(data, values, (source.preprocessing if source else None) or rain)
        if not values["data"].get("validation"):
            values = {k: v for k, v in values.items() if k not in NEED_VALIDATION}
    arguments = [k for k in MAIN_ARGUMENTS if k in inspect.signature(type(model)).parameters]
    command = shlex.join(["convrnn-zoo", "train", file, "--data", str(data or "DIR")])
    return "\n".join([f"# Recipe of {architecture}. Train with: {command}", *format_recipe(values, arguments)]) + "\n"


def _describe_frames(path: Path, values: dict[str, Any], trained: Preprocessing | None) -> dict[str, Any]:
    """Returns the table ``[data]`` of files of frames; reduces `inputs` and `horizon` in `values` for short files.

    Variables, units and encodings are those that a model was `trained` on, or else those of the files.
    """
    check_exists(path)
    table, files = _find_frames(path)
    if table["kind"] == "video":
        frames = open_frames(files[0], ReadOptions(unit=""))
    else:
        if find_format(files[0]):
            table["coarsen"] = COARSEN if trained else 1
        elif find_labelled(files[0]):
            table |= _choose_variables(files[0], trained)
        dataset: Any = read_dataset(table)
        frames = max(dataset.select(dataset.open(path, unit=None), path, "train"), key=len)
        if not table.get("variables"):
            unit = values["data"].get("unit", "") if frames.unit is None else frames.unit
            table |= {"unit": trained.unit if trained else unit, "encoding": "log" if is_rain(unit) else "standardize"}
            table |= _value_keys(unit, trained)
        table["step"] = frames.step or values["data"].get("step") or (trained and trained.step)
        if frames.pixel_km:
            table["pixel_km"] = round(frames.pixel_km, 3)
    if max(frames.size) > 128:
        table["crop"] = min(64, *frames.size)
    bound = time_bounds(len(frames))[1]
    length = min(bound, len(frames) - bound + values["inputs"])
    if table["kind"] == "video" and len(files) > 2:  # the parts of each video would be short
        table["split"], length = "file", len(frames)
    if values["inputs"] + values["horizon"] > length:
        values["inputs"] = max(1, length // 3)
        values["horizon"] = max(1, min(length, len(frames) // 3 + values["inputs"]) - values["inputs"])
    return table


def _find_frames(path: Path) -> tuple[dict[str, Any], list[Path]]:
    """Returns the kind and name of a dataset, and its files of frames at a path: arrays, radar files or videos."""
    for kind in ("frames", "video"):
        table = {"kind": kind, "name": path.stem or "my data"}
        dataset: Any = read_dataset(table)
        files = [source[0] for source in dataset.find_sources(path)]
        if any(f.suffix.lower() in dataset.suffixes or f.is_dir() or find_format(f) for f in files):
            return table, files
    raise ValueError(f"{path} contains no frames: expected files of {', '.join(dataset.suffixes)}, or arrays")


def _choose_variables(path: Path, trained: Preprocessing | None) -> dict[str, Any]:
    """Returns the keys of ``[data]`` that select the variables of a file.

    They are those that a model was `trained` on, or the only one in its unit. Without a model, they are all of several
    variables, with the maps and series of the file.
    """
    if trained is not None and trained.variables:
        roles = {role: [{"name": v.name, **_value_keys(v.unit, v)} for v in getattr(trained, role)] for role in ROLES}
        return {**roles, "targets": list(trained.targets)}
    data = labelled_frames(path)
    dims = {"variables": ("time", "y", "x"), "future": ("time",), "static": ("y", "x")}
    names = {role: [str(n) for n, v in data.data_vars.items() if v.dims == dims[role]] for role in dims}
    if len(names["variables"]) < 2:
        return {}
    if trained is not None:
        with naming(path):
            return {"variable": choose_variable(data, trained.unit)}
    return {role: [{"name": n, **_value_keys(data[n].attrs.get("units"))} for n in names[role]] for role in ROLES}


def _value_keys(unit: str | None, trained: Encoding | None = None) -> dict[str, Any]:
    """Returns the keys of :class:`ValueFields` for values in a unit: those of `trained` weights, if there are any."""
    if trained is None:
        is_rate = (rain_rate(unit or "") or FASTEST_RAIN) < FASTEST_RAIN  # m/s and cm/s are of speeds
        return {"unit": "mm/h", "encoding": "log"} if is_rate else {"unit": unit} if unit else {}
    encoding = trained.encoding if trained.encoding in ENCODINGS else None
    keys = {"unit": trained.unit or None, "encoding": encoding, "floor": trained.floor, "top": trained.top}
    keys |= {"valid_min": trained.lowest, "valid_max": trained.highest}
    return {key: value for key, value in keys.items() if value is not None}


def _describe_labelled(path: Path, model: Any, front_end: LogMel | None) -> dict[str, Any]:
    """Returns the table ``[data]`` of labelled sequences or clips; sounds have the rate of a trained `front_end`."""
    table: dict[str, Any] = {"kind": "sequences", "name": path.stem or "my data"}
    if isinstance(model, VideoModel):
        table |= {"kind": "clips", "size": 112}  # one size for clips of different ones
    parts = read_dataset(table).find_parts(path) if path.exists() else {}
    if "test" in parts:
        keys = {"split": "test", "validation": "validation"}
        table |= {key: [f"{parts[part]}/*"] for key, part in keys.items() if part in parts}
    part = read_dataset(table).load(path, "train", front_end)
    table["label_names"] = list(part.label_names)
    if part.front_end is not None and front_end is None:
        table["front_end"] = {"rate": part.front_end.rate}
    return table
