"""Generated parts of the reference: the command line, the index and recipes, for :mod:`tools.docs`."""

import importlib
import inspect
import re
from functools import partial
from pathlib import Path
from typing import Any

import click
import griffe

import convrnn_zoo
from benchmarks.tables import markdown, rows_of, table
from convrnn_zoo.data import FRAME_DATASETS, LABELLED_DATASETS
from convrnn_zoo.recipes import SAMPLINGS, Augment, ClassifierRecipe, ForecasterRecipe, Recipe, describe_fields
from convrnn_zoo.train.optim import SCHEDULES
from convrnn_zoo.values.labels import axes
from convrnn_zoo.verify.losses import LOSSES, exceedance
from convrnn_zoo.verify.metrics import METRICS
from convrnn_zoo_command.group import COMMANDS, cli

from .. import ROOT, website


def summary(docstring: str | None) -> str:
    """Returns the first sentence of a docstring, on one line."""
    text = " ".join(inspect.cleandoc(docstring or "").partition("\n\n")[0].split())
    return website.markdown(text).replace("|", "\\|")


def _code(names: Any, otherwise: str = "–") -> str:
    return ", ".join(f"`{name}`" for name in names) or otherwise


# ---- the command line --------------------------------------------------------------------------------------------
commands = partial(
    rows_of, COMMANDS, {"command": "`convrnn-zoo {}`".format, "description": lambda name: COMMANDS[name][1]}
)


def command_line(page: str) -> str:
    """Writes a section per command with its usage, text and options, from click."""
    parts = []
    with click.Context(cli, info_name="convrnn-zoo") as group:
        for name in COMMANDS:
            command: Any = cli.get_command(group, name)
            context = click.Context(command, info_name=name, parent=group)
            usage = " ".join(["convrnn-zoo", name, *command.collect_usage_pieces(context)])
            rows = [_option(p) for p in command.params if isinstance(p, click.Option)]
            options = markdown(("option", "value", "default", "meaning"), rows) if rows else ""
            parts += [f"## {name}\n\n```\n{usage}\n```", _text(command.help), options, _text(command.epilog or "")]
    return "\n\n".join(filter(None, parts))


def _text(help_: str) -> str:
    """Converts click's help to Markdown; paragraphs after a backspace keep their lines."""
    paragraphs = inspect.cleandoc(help_).split("\n\n")
    return "\n\n".join(
        f"```\n{p.partition(chr(10))[2]}\n```" if p.startswith("\b") else " ".join(p.split()) for p in paragraphs
    )


def _option(option: click.Option) -> tuple[str, str, str, str]:
    kind = default = ""
    if not option.is_flag:
        kind = option.make_metavar(click.Context(cli)).strip("[]").replace("|", ", ")
        if isinstance(option.default, int | float | str | Path) and str(option.default):
            default = f"`{option.default}`"
    return _code((*option.opts, *option.secondary_opts)), kind, default, str(option.help)


# ---- the index ---------------------------------------------------------------------------------------------------
MODULES = ("data", "exporting", "hub", "interop", "layers", "models", "predict", "recipes", "train", "verify")
_DIRECTIVE = re.compile(r"^::: (convrnn_zoo\.[\w.]+)$", re.MULTILINE)


def public_names() -> dict[str, str]:
    """Returns each public name with the path that documents it, or an empty string if no page does."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")]
    documented = {path.rpartition(".")[2]: path for page in pages for path in _DIRECTIVE.findall(page)}
    names = {*convrnn_zoo.__all__, *documented}
    for module in MODULES:
        names.update(getattr(importlib.import_module(f"convrnn_zoo.{module}"), "__all__", ()))
    return {name: documented.get(name, "") for name in sorted(names, key=lambda name: (name.lower(), name))}


def a_to_z(page: str) -> str:
    """Lists every public name once, with a link and the first sentence of its documentation."""
    homes = [convrnn_zoo, *(importlib.import_module(f"convrnn_zoo.{m}") for m in MODULES)]
    package: Any = griffe.load("convrnn_zoo", search_paths=[ROOT], resolve_aliases=True)
    rows = []
    for name, path in public_names().items():
        home = importlib.import_module(path.rpartition(".")[0]) if path else next(h for h in homes if hasattr(h, name))
        value = getattr(home, name)
        text = inspect.getdoc(value)
        if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
            text = package[f"{home.__name__}.{name}".removeprefix("convrnn_zoo.")].docstring.value
        rows.append((f"[`{name}`][{path}]" if path else f"`{name}`", summary(text)))
    return markdown(("name", "description"), rows)


# ---- recipes -----------------------------------------------------------------------------------------------------
RECIPE_UNITS = {
    "minutes": "step", "km": "pixel_km", "unit of the data": "floor top valid_min valid_max thresholds",
    "stored number": "fill_value", "pixels": "crop stride size", "frames": "inputs horizon lead_times max_frames",
    "updates": "max_steps checkpoint_every cycles until begin end decay freeze_steps", "epochs": "epochs",
    "validations": "patience", "sequences": "batch_size", "dB": "gain color hiss tint", "rad": "rotate",
}  # fmt: skip
"""Units with the keys of recipes that have them."""


def recipe_keys(page: str) -> str:
    """Lists the keys of recipes and of their tables, with meaning, type, default and unit."""
    common = set(describe_fields(Recipe))  # a kind with another default lists the key again
    described: dict[str, type[Any]] = {
        "Every recipe": Recipe,
        '`kind = "forecaster"`': ForecasterRecipe,
        '`kind = "classifier"`': ClassifierRecipe,
    }
    datasets = {**FRAME_DATASETS, **LABELLED_DATASETS}
    described |= {f'`[data]` with `kind = "{kind}"`': cls for kind, cls in datasets.items()}
    described |= {"`[augment]` of a classifier": Augment}
    described |= {f'`[sampling]` with `name = "{name}"`': cls for name, cls in SAMPLINGS.items()}
    columns: dict[str, Any] = {
        "key": lambda f: f"`{f.name}`",
        "meaning": lambda f: f.meaning + (" Required." if f.default == "required" else ""),
        "type": lambda f: f.type,
        "default": lambda f: "" if f.default in ("required", "none") else f"`{f.default}`",
        "unit": lambda f: next((unit for unit, keys in RECIPE_UNITS.items() if f.name in keys.split()), ""),
    }
    parts = []
    for title, cls in described.items():
        left_out = common if cls in (ForecasterRecipe, ClassifierRecipe) else ()
        if fields := [f for f in describe_fields(cls) if f not in left_out]:
            parts.append(f"## {title}\n\n{table(fields, columns)}")
    return "\n\n".join(parts)


def losses(page: str) -> str:
    """Lists the losses of recipes with the activation of the output."""
    known = {"mse": "Mean squared error.", "mae": "Mean absolute error.", "exceedance": summary(exceedance.__doc__)}
    rows = []
    for name, loss in LOSSES.items():
        function = getattr(loss.of, "func", loss.of)
        weights = ", ".join(f"{w:g} from {t:g} mm/h" for t, w in getattr(loss.of, "keywords", {}).get("weights", ()))
        text = known.get(name) or summary(function.__doc__) + (f" Weights: {weights}." if weights else "")
        rows.append((f"`{name}`", text, loss.activation, "yes" if loss.is_pixelwise else "no"))
    return markdown(("loss", "value", "activation", "leaves out unknown pixels"), rows)


def loss_functions(page: str) -> str:
    """Documents the functions of the losses."""
    functions = {getattr(loss.of, "func", loss.of).__name__ for loss in LOSSES.values()} | {exceedance.__name__}
    return "\n".join(f"::: convrnn_zoo.verify.losses.{name}" for name in sorted(functions - {"<lambda>"}))


metrics = partial(
    rows_of,
    METRICS,
    {
        "metric": "`{}`".format,
        "better": lambda name: f"{METRICS[name].better}; perfect is {METRICS[name].perfect:g}".replace("inf", "∞"),
        "unit": lambda name: METRICS[name].unit.replace("{unit}", "unit of the data") or "–",
        "computed": lambda name: f'`metrics = ["{name}"]`' if METRICS[name].of else "always",
    },
)


schedules = partial(
    rows_of,
    SCHEDULES,
    {
        "schedule": "`{}`".format,
        "description": lambda name: summary(SCHEDULES[name].__doc__),
    },
)
samplings = partial(
    rows_of,
    SAMPLINGS,
    {
        "name": "`{}`".format,
        "arguments": lambda name: _code(inspect.signature(SAMPLINGS[name]).parameters),
        "frames that are read": lambda name: summary(SAMPLINGS[name].__doc__),
    },
)


axis_names = partial(
    rows_of,
    axes.NAMES,
    {
        "dimension": "`{}`".format,
        "`axis`": lambda axis: _code((k for k in axes.ATTRIBUTES[axis] if len(k) == 1), ""),
        "`standard_name`, or its units": lambda axis: _code((k for k in axes.ATTRIBUTES[axis] if len(k) > 1), ""),
        "names": lambda axis: _code(axes.NAMES[axis], ""),
    },
)
