"""Generation of starting recipes for a model and a user's files; a comment explains every key."""

import dataclasses
import inspect
import re
import shlex
import textwrap
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .._typed import describe_type
from ..data import DataVariable, ReadOptions, labelled_frames, open_frames, read_dataset
from ..data.datasets.frame_dataset import variable_options
from ..data.datasets.frame_sequences import time_bounds
from ..data.files import check_exists
from ..data.formats import find_labelled
from ..data.formats.radar import COARSEN, find_format
from ..data.frames import ENCODINGS, FLOOR, ROLES, TOP
from ..models import ConvRNNModel, Forecaster, VideoModel, create_model, from_pretrained
from ..models.base.classifier import Classifier
from ..values.labels.form import choose_variable
from ..values.log_mel import LogMel
from ..values.preprocessing import Encoding, Preprocessing
from ..values.units import FASTEST_RAIN, is_rain, rain_rate
from ._toml import toml
from .augment import Augment
from .recipe import NEED_VALIDATION, RECIPE_KINDS, RECIPES, Recipe, find_recipe
from .sampling import SAMPLINGS

TEXTS = ("weights", "description", "remarks", "citation", "init_from", "test_sequences")
"""Fields of an existing recipe that a starting recipe does not copy."""
FINE_TUNING = {"optimizer": "adam", "lr": 1e-4, "max_steps": 200, "checkpoint_every": 50, "cycles": ()}
"""Settings that change trained weights little: a learning rate of 0.02 would destroy them in a few updates."""
SET_BY_DATA = ("in_chans", "num_classes", "out_chans", "static_chans", "future_chans", "horizon")
"""Arguments of a model that follow from the data and from other keys of a recipe."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "forecaster": {
        "kind": "forecaster",
        "batch_size": 4,
        "lr": 0.001,
        "max_steps": 2000,
        "inputs": 10,
        "horizon": 10,
        "loss": "mse",
        "data": {"kind": "frames", "name": "my data"},
    },
    "classifier": {
        "kind": "classifier",
        "batch_size": 16,
        "lr": 0.003,
        "epochs": 40,
        "data": {"kind": "sequences", "name": "my data"},
    },
    "nowcast": {
        "inputs": 4,
        "horizon": 12,
        "loss": "exceedance",
        "data": {"kind": "frames", "name": "my data", "unit": "mm/h", "encoding": "log"},
    },
}
"""Values of a new recipe; those of a nowcast, which forecasts rain rates, replace those of other forecasters."""
MAIN_ARGUMENTS = ("hidden_channels", "num_layers", "kernel_size", "patch_size", "num_levels", "bidirectional")
"""Arguments of networks that the comment of ``[model]`` names."""


class FieldDoc(NamedTuple):
    """Key of a recipe; `default` is the default as TOML, or ``"required"`` or ``"none"``."""

    name: str
    type: str
    default: str
    meaning: str


def describe_fields(cls: type[Any]) -> list[FieldDoc]:
    """Describes the keys of a recipe or of one of its tables, from the fields of the class and of its bases.

    A field that a class declares again, such as with another default, keeps its description. Keys that a class inherits
    but rejects, and therefore lists in `excluded`, are left out.
    """
    meanings: dict[str, str] = {}
    for base in reversed([b for b in cls.__mro__ if dataclasses.is_dataclass(b)]):
        described = {f.name: f.metadata.get("description", "") for f in dataclasses.fields(base)}
        meanings |= {name: text for name, text in described.items() if text}
    hints = typing.get_type_hints(cls)
    fields = []
    for f in dataclasses.fields(cls):
        if f.name in getattr(cls, "excluded", ()):
            continue
        value = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        default = "required" if value is dataclasses.MISSING else "none" if value is None else toml(value)
        kind = describe_type(hints[f.name]).removeprefix("a ").replace("finite number", "number")
        meaning = re.sub(r":\w+:`~?[\w.]*?(\w+)`|``(.*?)``|`(.*?)`", r"\1\2\3", meanings.get(f.name, ""))
        if choices := [c for c in f.metadata.get("choices", ()) if c and c not in meaning]:
            meaning = f"{meaning.rstrip('.')}: {', '.join(choices)}."
        fields.append(FieldDoc(f.name, "table or string" if f.name == "data" else kind, default, meaning))
    return fields


def starting_recipe(name: str, data: Path | None = None, init_from: str = "", file: str = "FILE.toml") -> str:
    """Returns the text of a recipe for a model and a user's files.

    A new recipe of a forecaster trains in bfloat16 if this CPU convolves faster in it. A copied recipe keeps its value.

    Args:
        name: an architecture; a recipe of the package, whose values are copied; or "" for the architecture of
            `init_from`.
        data: file or directory. The table ``[data]`` describes it: kind, variables, unit, time step and classes.
            Without `data`, the table has placeholders to replace.
        init_from: weights to fine-tune. The recipe then has a small learning rate and few updates.
        file: name of the file that the text will be written to, for the command in its first line.
    """
    source, recipe, preprocessing = None, None, None
    settings: dict[str, Any] = {}
    if init_from:
        source = from_pretrained(init_from)
        architecture = source.pretrained_cfg["architecture"]
        if name not in ("", architecture):
            raise ValueError(f"{init_from} are weights of {architecture}, not of {name}; leave out the name")
        name, recipe, preprocessing = architecture, find_recipe(source), source.preprocessing
        settings["model"] = {k: v for k, v in source.model_args.items() if k not in SET_BY_DATA}
    elif name in RECIPES:
        recipe = Recipe.read(name)
        name = recipe.architecture
    if recipe:
        left_out = (*TEXTS, "seeds") if init_from else TEXTS
        settings = {k: v for k, v in recipe.to_table().items() if k not in left_out}
    model = create_model(name, **settings.get("model", {}), device="meta")
    if not isinstance(model, Forecaster | Classifier):
        raise ValueError(f"no recipe trains {name}; choose a forecaster, such as convgru_forecaster, or a classifier")
    is_forecaster = isinstance(model, Forecaster)
    values: dict[str, Any] = {"weights": f"{name}.mine", "description": "What the model does.", "license": "other"}
    values |= DEFAULTS["forecaster" if is_forecaster else "classifier"]
    if hasattr(model, "exceedance"):
        values |= DEFAULTS["nowcast"]
        preprocessing = preprocessing or Preprocessing(encoding="log", unit="mm/h", floor=FLOOR, top=TOP)
    if isinstance(model, ConvRNNModel) and model.ndim == 1:  # sequences have maps of one pixel
        values["model"] = {"kernel_size": 1}
    values |= settings
    if init_from:
        values |= {"init_from": init_from, **(FINE_TUNING if is_forecaster else {"lr": 3e-4, "epochs": 10})}
    if data is not None:
        if is_forecaster:
            values["data"] = _describe_frames(data, values, preprocessing)
        else:
            values["data"] = _describe_labelled(data, model, source.front_end if source else None)
        if not values["data"].get("validation"):
            values = {k: v for k, v in values.items() if k not in NEED_VALIDATION}
    values["main"] = [k for k in MAIN_ARGUMENTS if k in inspect.signature(type(model)).parameters]
    command = shlex.join(["convrnn-zoo", "train", file, "--data", str(data or "DIR")])
    return _write(values, f"Recipe of {name}. Train with: {command}")


def _describe_frames(path: Path, values: dict[str, Any], preprocessing: Preprocessing | None) -> dict[str, Any]:
    """Returns the table ``[data]`` of files of frames; reduces `inputs` and `horizon` in `values` for short files.

    `preprocessing` belongs to trained weights. Unit and encoding are taken from it, or else from the files.
    """
    check_exists(path)
    dataset, table, files = _find_frames(path)
    is_video, is_radar = table["kind"] == "video", any(map(find_format, files))
    options = ReadOptions(unit="" if is_video else None)
    if is_radar and not is_video:
        table["coarsen"] = COARSEN if preprocessing is not None else 1
        options = dataclasses.replace(options, coarsen=table["coarsen"])
    elif find_labelled(files[0]):
        options = _choose_variables(files[0], options, preprocessing)
    if is_video:
        frames = open_frames(files[0], options)
    else:
        opened = dataset.open(path, **{f.name: getattr(options, f.name) for f in dataclasses.fields(options)})
        frames = max(dataset.select(opened, path, "train"), key=len)
    if options.variables:
        table |= _describe_variables(options, frames, preprocessing)
    elif not is_video:
        table |= {"variable": options.variable} if options.variable else {}
        table |= _describe_unit(values["data"], frames, preprocessing)
    if preprocessing is None and not options.variables and frames.dataset is not None and not is_radar:
        roles = _find_roles(labelled_frames(files[0]))
        table["proposed"] = roles if roles["static"] or roles["future"] else {}
    if not is_video and frames.pixel_km:
        table["pixel_km"] = round(frames.pixel_km, 3)
    if max(frames.size) > 128:
        table["crop"] = min(64, *frames.size)
    bound = time_bounds(len(frames))[1]
    length = min(bound, len(frames) - bound + values["inputs"])
    if is_video and len(files) > 2:  # the parts of each video would be short
        table["split"], length = "file", len(frames)
    if values["inputs"] + values["horizon"] > length:
        values["inputs"] = max(1, length // 3)
        values["horizon"] = max(1, min(length, len(frames) // 3 + values["inputs"]) - values["inputs"])
    return table


def _find_frames(path: Path) -> tuple[Any, dict[str, Any], list[Path]]:
    """Returns the dataset, its kind and name, and the files of frames at a path: arrays, radar files or videos."""
    for kind in ("frames", "video"):
        table: dict[str, Any] = {"kind": kind, "name": path.stem or "my data"}
        dataset: Any = read_dataset(table)
        files = [source[0] for source in dataset.find_sources(path)]
        is_radar = kind == "frames" and any(map(find_format, files))
        if is_radar or any(f.suffix.lower() in dataset.suffixes or f.is_dir() for f in files):
            return dataset, table, files
    raise ValueError(f"{path} contains no frames: expected files of {', '.join(dataset.suffixes)}, or arrays")


def _describe_variables(options: ReadOptions, frames: Any, preprocessing: Preprocessing | None) -> dict[str, Any]:
    """Returns the keys of ``[data]`` for several variables."""
    units, table = iter(frames.units), {}
    trained = {v.name: v for role in ROLES for v in getattr(preprocessing, role, ())}
    for role in ROLES:
        fields = {v.name: _describe_values(next(units), trained.get(v.name)) for v in getattr(options, role)}
        table[role] = [{"name": name, **described} if described else name for name, described in fields.items()]
    if preprocessing is not None and preprocessing.targets:
        table["targets"] = list(preprocessing.targets)
    return table | ({"step": frames.step} if frames.step else {})


def _describe_unit(known: Mapping[str, Any], frames: Any, preprocessing: Preprocessing | None) -> dict[str, Any]:
    """Returns the keys of ``[data]`` for the unit, encoding and time step of one variable; `known` are other keys."""
    trained = None if preprocessing is None or preprocessing.variables else preprocessing
    unit = known.get("unit", "") if frames.unit is None else frames.unit
    step = frames.step or known.get("step") or (trained and trained.step)
    table = {"unit": trained.unit if trained else unit, "encoding": "log" if is_rain(unit) else "standardize"}
    return table | _describe_values(unit, trained) | ({"step": step} if step else {})


def _choose_variables(path: Path, options: ReadOptions, preprocessing: Preprocessing | None) -> ReadOptions:
    """Returns the options that select the variables of a file.

    They select the variables of `preprocessing`, which belongs to trained weights. If it has no variables, they select
    the only variable with a matching unit. Without `preprocessing`, they select all of several variables, and the
    static maps and series.
    """
    if preprocessing is not None and preprocessing.variables:
        return dataclasses.replace(options, **variable_options(preprocessing, options))
    data = labelled_frames(path)
    roles = _find_roles(data)
    names = roles["variables"]
    if len(names) < 2:
        return options
    if preprocessing is None:
        several: dict[str, Any] = {role: tuple(DataVariable(name=n) for n in names) for role, names in roles.items()}
        return dataclasses.replace(options, **several)
    try:
        return dataclasses.replace(options, variable=choose_variable(data, preprocessing.unit))
    except ValueError as e:
        raise ValueError(
            f"{path} has the variables {', '.join(names)}, and the model reads one in "
            f"{preprocessing.unit or 'no unit'}; name it as data.variable in a recipe that is written without --data"
        ) from e


def _find_roles(data: Any) -> dict[str, list[str]]:
    """Returns the names of the frames, the series and the maps of a Dataset in normal form, by their keys of [data]."""
    dims = {"variables": ("time", "y", "x"), "future": ("time",), "static": ("y", "x")}
    return {role: [str(n) for n, v in data.data_vars.items() if v.dims == d] for role, d in dims.items()}


def _is_rain_rate(unit: str) -> bool:
    """Returns whether values in a unit are probably rain rates: those in m/s and cm/s are speeds."""
    rate = rain_rate(unit)
    return rate is not None and rate < FASTEST_RAIN


def _describe_values(unit: str | None, trained: Encoding | None) -> dict[str, Any]:
    """Returns the keys of :class:`ValueFields` for values in a unit: those of `trained` weights, if there are any."""
    if trained is None:
        return {"unit": "mm/h", "encoding": "log"} if unit and _is_rain_rate(unit) else {"unit": unit} if unit else {}
    fields = {
        "unit": trained.unit or None,
        "encoding": trained.encoding if trained.encoding in ENCODINGS else None,
        "floor": trained.floor,
        "top": trained.top,
        "valid_min": trained.lowest,
        "valid_max": trained.highest,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _describe_labelled(path: Path, model: Any, front_end: LogMel | None) -> dict[str, Any]:
    """Returns the table ``[data]`` of files of labelled sequences or video clips.

    `front_end` belongs to trained weights; sounds are resampled to its rate.
    """
    table: dict[str, Any] = {"kind": "sequences", "name": path.stem or "my data"}
    if isinstance(model, VideoModel):
        table |= {"kind": "clips", "size": 112}  # one size for clips of different ones
    dataset: Any = read_dataset(table)
    if "test" in (parts := dataset.find_parts(path) if path.exists() else {}):
        keys = {"split": "test", "validation": "validation"}
        table |= {key: [f"{parts[part]}/*"] for key, part in keys.items() if part in parts}
        dataset = read_dataset(table)
    part = dataset.load(path, "train", front_end)
    table["label_names"] = list(part.label_names)
    if part.front_end is not None and front_end is None:
        table["front_end"] = {"rate": part.front_end.rate}
    return table


def _write(values: dict[str, Any], title: str) -> str:
    """Returns a recipe as TOML with all keys; keys that are not in `values` are comments with their defaults."""
    kind, data = values["kind"], dict(values["data"])
    proposed = data.pop("proposed", {})
    datasets: Mapping[str, Any] = RECIPE_KINDS[kind].datasets
    sampling = dict(values.get("sampling") or {})
    sampling_name = sampling.pop("name", "own")
    sections: dict[str, tuple[type, Mapping[str, Any], list[str]]] = {
        "data": (datasets[data["kind"]], data, [f"kind = {toml(data['kind'])}"]),
        "augment": (Augment, values.get("augment") or {}, []),
        "sampling": (SAMPLINGS[sampling_name], sampling, [f"name = {toml(sampling_name)}"]),
    }
    lines = [f"# {title}", f"kind = {toml(kind)}"]
    for field in describe_fields(RECIPE_KINDS[kind]):
        if field.name not in (*sections, "model"):
            lines += _format_key(field, values.get(field.name))
    model = {k: v for k, v in dict(values.get("model") or {}).items() if v is not None}
    main = ", ".join(values.get("main", ()))
    if model or main:
        lines += ["", f"# arguments of the architecture{main and f', such as {main}'}", "[model]"]
        lines += [f"{k} = {toml(v)}" for k, v in model.items()]
    for name, (cls, table, head) in sections.items():
        if table:
            lines += ["", f"[{name}]", *head]
            for field in describe_fields(cls):
                lines += _format_key(field, table.get(field.name), proposed.get(field.name))
    return "\n".join(lines) + "\n"


def _format_key(field: FieldDoc, value: Any, proposed: Any = None) -> list[str]:
    """Returns the lines of a key: its meaning as a comment, and its value, commented out if it is the default.

    A `proposed` value is commented out in place of the default.
    """
    comments = textwrap.wrap(field.meaning, 120, initial_indent="# ", subsequent_indent="#   ")
    if field.default == "required" or (value is not None and toml(value) != field.default):
        return [*comments, f"{field.name} = {toml('' if value is None else value)}"]
    default = toml(proposed) if proposed else "" if field.default == "none" else field.default
    return [*comments, f"# {field.name} = {default}".rstrip()]
