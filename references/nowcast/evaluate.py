"""Evaluates weights of a nowcast on five rain events: ``python -m references.nowcast.evaluate NAME --data DIR``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from convrnn_zoo import WEIGHTS, create_model
from convrnn_zoo._atomic import write_text
from convrnn_zoo.cli._options import Choice, json_option, output_directory
from convrnn_zoo.cli._text import columns
from convrnn_zoo.verify import sprog

from .events import EVENTS, load_event
from .figures import draw_ensembles, draw_event, draw_scores
from .intervals import interval_table
from .scores import SPLIT, for_event, make_metrics, score_nowcast, table
from .verification import windows_of_hours


@click.command()
@click.argument("name")
@click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), help="pysteps' example data.")
@click.option("--members", type=click.IntRange(min=0), default=0, help="Members of the ensembles; 0 leaves them out.")
@click.option(
    "--event", "names", multiple=True, type=Choice([e.name for e in EVENTS]), help="Repeatable [default: all]."
)
@click.option("--update", is_flag=True, help="Update the metadata of the weights; needs all events.")
@output_directory("Directory for scores.json and figures.")
@json_option
def evaluate(
    name: str,
    data: Path,
    members: int,
    names: tuple[str, ...],
    update: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Evaluate the nowcast weights NAME on five rain events, and compare them with the methods of pysteps.

    Each event has three or six hours of pysteps' example data; --data is the directory of these data, or the folder
    radar in it. The scores are computed with pysteps.verification. --members 20 also scores ensembles of the model and
    of pysteps' STEPS, and takes minutes per event. The second table lists the differences from the best of
    extrapolation, S-PROG, ANVIL and LINDA, and from STEPS, with 95 % intervals. --update writes the metrics to the
    metadata of the weights. The file tools/nowcasts.json of the repository is such a scores.json, with --members 20.

    \b
    python -m references.nowcast.evaluate convgru_advection.nowcast --data pysteps-data
    """
    if update and names:
        raise click.UsageError("--update needs the scores of all events; leave --event out")
    model: Any = create_model(name, pretrained=True).eval()
    rain = [load_event(data, event) for event in EVENTS if not names or event.name in names]
    scores = score_nowcast(model, rain, members)
    text = json.dumps(scores, separators=(",", ":"), ensure_ascii=False)
    if update:
        replace(WEIGHTS[name], metrics=make_metrics(scores), split=SPLIT).save()
    if output is not None:
        write_text(output / "scores.json", text + "\n")
        for event in rain:
            minutes = event.event.minutes
            window = list(windows_of_hours(event.frames, minutes, 30))[-1]
            horizon = len(window.truth)
            ensemble = model.forecast(window.inputs, horizon, minutes=minutes, members=20, seed=0)
            forecasts = {
                "forecast": model.forecast(window.inputs, horizon, minutes=minutes),
                "member 1": ensemble[0],
                "member 2": ensemble[1],
                "S-PROG": for_event(sprog)(window.inputs, horizon),
            }
            draw_event(window, forecasts, f"{event.event.title}, {event.event.day}", output / event.event.name, minutes)
        draw_scores(scores, output / "scores.png")
        if members:
            draw_ensembles(scores, output / "ensembles.png")
    if as_json:
        click.echo(text)
        return
    header, rows = table(scores)
    click.echo(columns(rows, header=header))
    click.echo("\n" + interval_table(scores))


if __name__ == "__main__":
    evaluate()
