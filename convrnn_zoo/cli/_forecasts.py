"""Options of the commands that forecast, from the fields of ``ForecastOptions``."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import click

from ..predict import ForecastOptions
from ..predict.options import FLAGS
from ._options import Choice, FiniteRange, NumberList, parse_selection

COUNT: Any = {"type": click.IntRange(min=1)}
LENGTH: Any = {"type": FiniteRange(min=0, min_open=True)}
CLICK: dict[str, dict[str, Any]] = {
    "inputs": COUNT,
    "horizon": COUNT,
    "members": COUNT,
    "seed": {"type": int},
    "thresholds": {"type": NumberList(), "metavar": "VALUE,..."},
    "minutes": LENGTH,
    "pixel_km": LENGTH,
    "outside": {"type": Choice(("climatology", "nan"))},
    "coarsen": COUNT,
    "rain_relation": {"type": NumberList(), "metavar": "A,B"},
    "key": {},
    "sel": {"multiple": True, "callback": parse_selection, "metavar": "DIM=VALUE"},
    "recipe": {},
}
"""Arguments of ``click.option`` by field."""


def forecast_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds an option for each field of ``ForecastOptions`` to a command, which receives them as one dictionary."""

    @functools.wraps(command)
    def collect(**arguments: Any) -> None:
        command(options={name: arguments.pop(name) for name in CLICK}, **arguments)

    for field in reversed(dataclasses.fields(ForecastOptions)):
        description = field.metadata["description"]
        collect = click.option(FLAGS[field.name], field.name, help=description, **CLICK[field.name])(collect)
    return collect
