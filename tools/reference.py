"""Generated parts of the reference: the command line, the index from A to Z, losses, schedules and sampling."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import click

import convrnn_zoo
from benchmarks.tables import markdown
from convrnn_zoo.recipes import SAMPLINGS
from convrnn_zoo.recipes.recipe import SCHEDULE_ARGS, SCHEDULE_NAMES
from convrnn_zoo.train.optim import SCHEDULES, TimmSchedule, muon
from convrnn_zoo.verify.losses import LOSSES, exceedance
from convrnn_zoo.verify.metrics import METRICS
from convrnn_zoo_command.group import COMMANDS, cli

from . import docstrings

PAGES = Path(__file__).parent.parent / "docs" / "reference"
MODULES = ("data", "exporting", "hub", "interop", "layers", "models", "predict", "recipes", "train", "verify")
_DIRECTIVE = re.compile(r"^::: (convrnn_zoo\.[\w.]+)$", re.MULTILINE)


def summary(value: Any) -> str:
    """Returns the first sentence of a docstring, on one line."""
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return docstrings.markdown(text).replace("|", "\\|")


def command_line(page: str) -> str:
    """Writes a section per command with its usage, text and options, from click."""
    parts = []
    with click.Context(cli, info_name="convrnn-zoo") as group:
        for name in COMMANDS:
            command: Any = cli.get_command(group, name)
            context = click.Context(command, info_name=name, parent=group)
            usage = " ".join(["convrnn-zoo", name, *command.collect_usage_pieces(context)])
            rows = [_option(p) for p in command.params if isinstance(p, click.Option)]
            table = markdown(("option", "value", "default", "meaning"), rows) + "\n\n" if rows else ""
            parts.append(
                f"## {name}\n\n```\n{usage}\n```\n\n{_text(command.help)}\n\n{table}{_text(command.epilog or '')}"
            )
    return "\n\n".join(part.strip() for part in parts)


def _text(help_: str) -> str:
    """Converts click's help to Markdown; paragraphs after a backspace keep their lines."""
    paragraphs = inspect.cleandoc(help_).split("\n\n")
    return "\n\n".join(
        f"```\n{p.partition(chr(10))[2]}\n```" if p.startswith("\b") else " ".join(p.split()) for p in paragraphs
    )


def _option(option: click.Option) -> tuple[str, str, str, str]:
    kind = "" if option.is_flag else option.make_metavar(click.Context(cli)).strip("[]").replace("|", ", ")
    default = (
        f"`{option.default}`"
        if not option.is_flag and isinstance(option.default, int | float | str | Path) and str(option.default)
        else ""
    )
    return ", ".join(f"`{o}`" for o in (*option.opts, *option.secondary_opts)), kind, default, str(option.help)


def public_names() -> dict[str, str]:
    """Returns each public name with the path that documents it, or an empty string if no page does."""
    documented = {
        path.rpartition(".")[2]: path for p in PAGES.glob("*.md") for path in _DIRECTIVE.findall(p.read_text())
    }
    names = {*convrnn_zoo.__all__, *documented}
    for module in MODULES:
        names.update(getattr(importlib.import_module(f"convrnn_zoo.{module}"), "__all__", ()))
    return {name: documented.get(name, "") for name in sorted(names, key=lambda name: (name.lower(), name))}


def a_to_z(page: str) -> str:
    """Lists every public name once, with a link and the first sentence of its documentation."""
    rows = []
    for name, path in public_names().items():
        homes = [convrnn_zoo, *(importlib.import_module(f"convrnn_zoo.{m}") for m in MODULES)]
        if path:
            value = getattr(importlib.import_module(path.rpartition(".")[0]), name)
        else:
            value = next(getattr(home, name) for home in homes if hasattr(home, name))
        described = inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
        rows.append(
            (f"[`{name}`][{path}]" if path else f"`{name}`", summary(value) if described else _VALUES.get(name, ""))
        )
    return markdown(("name", "description"), rows)


_VALUES = {
    "Baseline": "Type of a function that forecasts frames from frames and a horizon.",
    "FIGURES": "Suffixes of figures of scores.",
    "FRAME_DATASETS": "Datasets of frames by the `kind` of a recipe's table `[data]`.",
    "LABELLED_DATASETS": "Datasets of labelled sequences by the `kind` of a recipe's table `[data]`.",
    "LOSSES": "Losses of recipes by name.",
    "NUMBERS": "Suffixes of files of numbers that a forecast can be written to.",
    "RECIPES": "Recipes of the package by name.",
    "SAMPLINGS": "Ways to sample the frames that a network reads in training, by name.",
    "SUFFIXES": "Suffixes of files that a forecast can be written to.",
    "Scores": "Type of scores: by method, by metric, one value for each lead time.",
    "SOURCES": "Projects whose checkpoints are read, by name.",
    "WEIGHTS": "Registered sets of weights by name, `architecture.tag`.",
    "__version__": "Version of the package.",
}


def losses(page: str) -> str:
    """Lists the losses of recipes with the activation of the output."""
    known = {"mse": "Mean squared error.", "mae": "Mean absolute error.", "exceedance": summary(exceedance)}
    rows = []
    for name, loss in LOSSES.items():
        function = getattr(loss.of, "func", loss.of)
        weights = ", ".join(f"{w:g} from {t:g} mm/h" for t, w in getattr(loss.of, "keywords", {}).get("weights", ()))
        text = known.get(name) or summary(function) + (f" Weights: {weights}." if weights else "")
        rows.append((f"`{name}`", text, loss.activation, "yes" if loss.is_pixelwise else "no"))
    return markdown(("loss", "value", "activation", "leaves out unknown pixels"), rows)


def loss_functions(page: str) -> str:
    """Documents the functions of the losses."""
    functions = {getattr(loss.of, "func", loss.of).__name__ for loss in LOSSES.values()} | {exceedance.__name__}
    return "\n".join(f"::: convrnn_zoo.verify.losses.{name}" for name in sorted(functions - {"<lambda>"}))


def metrics(page: str) -> str:
    """Lists the metrics of evaluations and their meaning."""
    rows = [
        (
            f"`{name}`",
            f"{info.better}; perfect is {info.perfect:g}".replace("inf", "∞"),
            info.unit.replace("{unit}", "unit of the data") or "–",
            f'`metrics = ["{name}"]`' if info.of else "always",
        )
        for name, info in METRICS.items()
    ]
    return markdown(("metric", "better", "unit", "computed"), rows)


def schedules(page: str) -> str:
    """Lists the optimizers and the schedules of recipes."""
    others = (
        "Optimizers of timm, such as `adam`, `adamw`, `sgd` and `lion`; `timm.optim.list_optimizers()` lists them. "
        "Those that need second derivatives, such as `adahessian`, are not supported."
    )
    optimizers = markdown(("optimizer", "description"), [("`muon`", summary(muon)), ("other names", others)])
    needed = {"rsqrt": " Set `warmup_steps` or `stable_timescale`."}
    rows = []
    for name in SCHEDULE_NAMES:
        keys = ", ".join(f"`{key}`" for key in SCHEDULE_ARGS.get(name, ())) or "–"
        rows.append((f"`{name}`", summary(SCHEDULES.get(name, TimmSchedule)) + needed.get(name, ""), keys))
    table = markdown(("schedule", "description", "keys of `schedule_args`"), rows)
    return f"{optimizers}\n\n{table}"


def samplings(page: str) -> str:
    """Lists the kinds of scheduled sampling with their arguments."""
    rows = [
        (f"`{name}`", ", ".join(f"`{p}`" for p in inspect.signature(kind).parameters) or "–", summary(kind))
        for name, kind in SAMPLINGS.items()
    ]
    return markdown(("name", "arguments", "frames that are read"), rows)
