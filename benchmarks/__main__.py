"""The command ``python -m benchmarks``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from click.core import ParameterSource

from .cases import CASES, LONG
from .errors import errors
from .measure import CLOCKS, first_over_third, machine, time_case
from .memory import peaks
from .peers import COMPILED, IMPLEMENTATIONS, load_peer
from .report import chart, exponents_table, scaling_chart, streams_table, table
from .scaling import AXES, measure_axis, measure_streams
from .shares import shares


def write(result: dict[str, Any], out: Path) -> None:
    """Writes the numbers, the table and the charts into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in {"bench.json": json.dumps(result), "bench.md": table(result)}.items():
        (out / name).write_text(text + "\n", encoding="utf-8")
    chart(result, out / "bench.png")


def reject_options(mode: str, supported: Sequence[str]) -> None:
    """Raises UsageError if an option of the command line is not among those that a mode reads."""
    context = click.get_current_context()
    options = {str(p.name): p.opts[0] for p in context.command.params if p.name not in supported}
    if unused := [
        option for name, option in options.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]:
        raise click.UsageError(f"{mode} does not use {', '.join(unused)}; leave out {mode} or the others")


@click.command()
@click.option(
    "--case", "names", multiple=True, type=click.Choice([c.name for c in [*CASES, LONG]]), help="Only this case."
)
@click.option("--implementation", "selected", multiple=True, help="Only this implementation (ours is always included).")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="Runs of each implementation.")
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.")
@click.option(
    "--clock",
    type=click.Choice(list(CLOCKS)),
    default="wall",
    show_default=True,
    help="cpu: processor time, for a busy machine; use it with --threads 1.",
)
@click.option(
    "--compile-peers", is_flag=True, help="Also time the implementations under torch.compile: minutes a case."
)
@click.option(
    "--memory/--no-memory", default=True, help="Measure the peak memory of a training step in fresh processes."
)
@click.option(
    "--scaling",
    is_flag=True,
    help="Time and memory over steps, batch, map and channels, and throughput over threads and streams, instead of the "
    "cases; writes scaling.json and scaling.png.",
)
@click.option("--profile", is_flag=True, help="Also profile our layers: convolutions, gates, copies, the rest.")
@click.option("--new-sizes", is_flag=True, help="Also compare the first call at a new map size with the third.")
@click.option("--errors", "precision", is_flag=True, help="Also measure the errors in float32, bfloat16 and float16.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME=DIR",
    help="Another implementation: DIR contains convrnn_peer.py (see benchmarks.peers) or is another checkout of this "
    'project, whose layers are called "ours of NAME".',
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for bench.json, .md and .png.",
)
def bench(
    names: tuple[str, ...],
    selected: tuple[str, ...],
    rounds: int,
    threads: int | None,
    clock: str,
    compile_peers: bool,
    memory: bool,
    scaling: bool,
    profile: bool,
    new_sizes: bool,
    precision: bool,
    peers: tuple[str, ...],
    out: Path | None,
) -> None:
    """Time inference and training of the layers against other implementations."""
    if threads:
        torch.set_num_threads(threads)
    cases = [c for c in [*CASES, LONG] if c.name in names] or CASES
    if scaling:
        reject_options("--scaling", ("rounds", "threads", "clock", "memory", "scaling", "out"))
        return bench_scaling(rounds, clock, memory, out)
    implementations = IMPLEMENTATIONS | (COMPILED if compile_peers else {})
    for peer in peers:
        name, sep, directory = peer.partition("=")
        if not sep:
            raise click.BadParameter(f"expected NAME=DIR, got {peer!r}; write --peer mine=path/to/checkout")
        try:
            name, build = load_peer(name, Path(directory))
        except FileNotFoundError as e:
            raise click.BadParameter(str(e)) from e
        implementations[name] = build
    if unknown := set(selected) - set(implementations):
        raise click.BadParameter(
            f"--implementation expected some of {', '.join(implementations)}; got {', '.join(unknown)}"
        )
    if selected:
        implementations = {name: build for name, build in implementations.items() if name == "ours" or name in selected}

    result: dict[str, Any] = {"machine": machine(clock), "rounds": rounds, "cases": []}
    if precision:
        result["errors"] = errors()
    for case in cases:
        entry: dict[str, Any] = {"name": case.name, "title": case.title}
        for task, times in time_case(case, implementations, rounds, clock):
            entry[task] = {name: [round(t, 7) for t in values] for name, values in times.items()}
            click.echo(table({"machine": result["machine"], "rounds": rounds, "cases": [entry]}, [task]))
        if memory:
            entry["peak_bytes"] = peaks(case, [n for n in implementations if n in IMPLEMENTATIONS])
        if profile:
            entry["shares"] = shares(case)
        if new_sizes:
            entry["first_over_third"] = first_over_third(case, clock)
        result["cases"].append(entry)
        if out is not None:  # after every case, since long runs may be interrupted
            write(result, out)
    click.echo(table(result))
    if out is not None:
        write(result, out)
    return None


def bench_scaling(rounds: int, clock: str, memory: bool, out: Path | None) -> None:
    """Measures how time and memory grow, and writes the numbers and the figure into `out`."""
    result: dict[str, Any] = {"machine": machine(clock), "rounds": rounds, "axes": {}}
    for axis in AXES:
        result["axes"][axis] = measure_axis(axis, rounds, clock, memory)
        click.echo(json.dumps({axis: result["axes"][axis]}))
    result["streams"] = measure_streams()
    click.echo(f"{exponents_table(result)}\n\n{streams_table(result)}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "scaling.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
        scaling_chart(result, out / "scaling.png")


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
