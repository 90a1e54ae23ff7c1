"""Text for the terminal."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._atomic import write_text
from .._typed import CONTROL

if TYPE_CHECKING:
    from ..pretrained.metadata import Metric


def printable(text: object) -> str:
    """Replaces control characters, because names and labels in untrusted files could change the terminal with them."""
    return CONTROL.sub("\ufffd", str(text))


def spell_options(message: str, command: click.Command) -> str:
    """Replaces Python arguments in a message by options of the command, such as ``inputs="all"`` by ``--inputs all``.

    `command.spellings` maps further arguments to text before their value. Paths such as ``runs/seed=1/x.npy`` are kept.

    Example:
        >>> options = [click.Option(["--pixel-km"]), click.Option(["--raw"], is_flag=True)]
        >>> command = click.Command("convert", params=options)
        >>> spell_options("pass pixel_km=2, unit='mm', or raw=True", command)
        "pass --pixel-km 2, unit='mm', or --raw"
    """
    for flag in command.params:
        if isinstance(flag, click.Option) and flag.is_flag:
            message = re.sub(rf"(?<![\w./\\-]){flag.name}=True\b", flag.opts[0], message)
    options = {p.name: f"{p.opts[-1]} " for p in command.params if isinstance(p, click.Option) and not p.is_flag}
    options |= getattr(command, "spellings", {})
    keys = "|".join(sorted(filter(None, options), key=len, reverse=True))
    pattern = rf"(?<![\w./\\-])(?<!--set )({keys})=(?![^\s'\",;)]*[/\\])(['\"]?)([^\s'\",;)]*)\2"
    return re.sub(pattern, lambda m: f"{options[m[1]]}{m[3]}".rstrip(), message) if keys else message


def columns(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Returns rows as aligned columns of :func:`printable` text.

    Example:
        >>> print(columns([("a", 1), ("long", 22)], header=("name", "n")))
        name  n
        a     1
        long  22
    """
    cells = [[printable(c) for c in row] for row in ([header, *rows] if header else rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def format_metric(metric: "Metric") -> str:
    """Returns a metric with its unit, and with its spread if it was measured in several runs."""
    summed = "" if metric.summed is None else f" per pixel, {_format_sum(metric)}"
    return f"{metric.name} {metric.value:.4g} {metric.unit}".rstrip() + summed + _format_spread(metric)


def _format_sum(metric: "Metric") -> str:
    return f"{metric.summed:.4g} summed over {metric.summed_over:,} pixels"


def _format_spread(metric: "Metric") -> str:
    text = "" if metric.interval is None else " (95 % interval {:g} to {:g})".format(*metric.interval)
    if metric.std is None or metric.runs < 2:
        return text
    return f"{text} (mean {metric.mean:.4g} ± {metric.std:.4g}, {metric.runs} runs)"


def format_metrics(metrics: "Sequence[Metric]") -> str:
    """Returns a table of metrics with a column for each baseline, and a line with the dataset and the test split.

    Example:
        >>> from convrnn_zoo import Metric
        >>> print(format_metrics([Metric("MSE", 0.5, "radar", "last third", unit="mm", baselines={"zero": 2.0})]))
        test    weights  zero
        MSE mm  0.5      2
        radar, last third
    """
    baselines = list(dict.fromkeys(name for metric in metrics for name in metric.baselines))
    rows = []
    for metric in metrics:
        others = [f"{metric.baselines[name]:.4g}" if name in metric.baselines else "" for name in baselines]
        value = f"{metric.value:.4g}{_format_spread(metric)}"
        rows.append((f"{metric.name} {metric.unit}".rstrip(), value, *others))
    data = dict.fromkeys(f"{metric.dataset}, {metric.split}" for metric in metrics)
    totals = [f"{m.name}: {_format_sum(m)}" for m in metrics if m.summed is not None]
    return "\n".join([columns(rows, header=("test", "weights", *baselines)), *data, *totals])


def format_warning(message: Warning | str) -> str:
    """Returns a warning as one line, without the place in the code."""
    return f"Warning: {printable(message)}\n"


def print_rows(
    rows: Sequence[Any],
    table: Sequence[Sequence[str]],
    header: Sequence[str],
    as_json: bool,
    output: Path | None,
    summary: str,
) -> None:
    """Writes `rows` to a .json file, and prints them as JSON, as a table or, if they were written, as a summary."""
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if output is not None and output.suffix == ".json":
        write_text(output, text)
    if as_json:
        click.echo(text, nl=False)
    elif output is None:
        click.echo(columns(table, header=header))
    elif summary:
        click.echo(f"{output}: {summary}")
