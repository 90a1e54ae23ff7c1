"""A report of a device: ``python -m benchmarks.device --device cuda -o report.json`` takes about a quarter of an hour.

It runs the tests of the device, times layers next to plain loops and to torch's dense LSTM, eager, compiled and as CUDA
graphs, and times complete tasks. The page Devices shows the reports in ``benchmarks/devices``.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import click
import torch
from torch import Tensor, nn

from convrnn_zoo.layers import _kernels

from . import tasks
from .cases import CASES, Case
from .measure import TASKS, machine
from .peers import Build, Output, one_convolution, ours, two_convolutions

ROOT = Path(__file__).parents[1]
PRECISIONS = ("float32", "tf32", "bfloat16")
MODES = ("eager", "compiled", "graph")
CASE_NAMES = ("wide", "tiny", "batch", "gru", "3d")
WARM_UP = 3
"""Calls before the first timed one: they choose kernels, compile, and fill the allocator."""


class DenseLSTM(nn.Module):
    """torch.nn.LSTM with the channels of a case over every pixel: what a ConvLSTM with a kernel of 1 would compute."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer = nn.LSTM(case.in_channels, case.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the output ``(T, pixels, C)``."""
        return self.layer(x.flatten(3).permute(0, 1, 3, 2).flatten(1, 2))[0]


def dense_lstm(case: Case) -> DenseLSTM | None:
    """Builds the dense LSTM for cases of one layer and direction."""
    return DenseLSTM(case) if case.kind == "LSTM" and case.num_layers == 1 and not case.lengths else None


IMPLEMENTATIONS: dict[str, Build] = {
    "ours": ours,
    "two convolutions": two_convolutions,
    "one convolution": one_convolution,
    "dense LSTM": dense_lstm,
}


def precision_context(precision: str, device: str) -> AbstractContextManager[Any]:
    """Returns a context in which layers with float32 weights compute in a precision."""
    stack = ExitStack()
    if device == "cuda":
        stack.enter_context(
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=False, allow_tf32=precision == "tf32"
            )
        )
    if precision == "bfloat16":
        stack.enter_context(torch.autocast(device, torch.bfloat16))
    return stack


def captured(run: Callable[[], None]) -> Callable[[], None]:
    """Captures `run` as a CUDA graph after a warm-up on another stream, and returns the function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def seconds_of_calls(run: Callable[[], None], rounds: int, device: str) -> list[float]:
    """Returns the seconds of each call after a warm-up, measured by CUDA events on CUDA and by a clock elsewhere."""
    for _ in range(WARM_UP):
        run()
    if device != "cuda":
        return [_seconds(run, device) for _ in range(rounds)]
    torch.cuda.synchronize()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(rounds)]
    for start_event, end_event in events:
        start_event.record()
        run()
        end_event.record()
    torch.cuda.synchronize()
    return [start_event.elapsed_time(end_event) / 1e3 for start_event, end_event in events]


def time_on_device(
    case: Case, device: str, rounds: int, modes: Sequence[str] = MODES, precisions: Sequence[str] = PRECISIONS
) -> Iterator[dict[str, Any]]:
    """Yields the median seconds of a case, and the peak memory on CUDA, one row per task and way to compute it."""
    x: Any = case.input()
    x = x.to(device)
    for name, build in IMPLEMENTATIONS.items():
        for mode in modes:
            torch.compiler.reset()  # earlier cases would count towards the recompilation limit
            if (forward := build(case)) is None or (mode == "compiled" and name != "ours"):
                continue  # each compilation takes up to a minute
            forward = forward.to(device)
            if mode == "compiled":
                forward.compile(dynamic=False)
            for precision in precisions[:1] if mode == "compiled" else precisions:
                for task, make in TASKS.items():
                    row = {"case": case.name, "title": case.title, "task": task, "implementation": name}
                    try:
                        with precision_context(precision, device):
                            run = make(forward, x)
                            run = captured(run) if mode == "graph" else run
                            reset_peak(device)
                            seconds = round(median(seconds_of_calls(run, rounds, device)), 7)
                        result: dict[str, Any] = {"seconds": seconds} | peak(device)
                    except Exception as e:  # what a device cannot do is a result as well
                        result = {"error": f"{type(e).__name__}: {e}"[:200]}
                    yield row | {"precision": precision, "mode": mode} | result


def reset_peak(device: str) -> None:
    """Starts a new measurement of the peak memory."""
    if hasattr(module := torch.get_device_module(device), "reset_peak_memory_stats"):
        module.reset_peak_memory_stats()


def peak(device: str) -> dict[str, int]:
    """Returns the peak memory since :func:`reset_peak`; CPUs and MPS do not report it."""
    module = torch.get_device_module(device)
    return {"peak_bytes": module.max_memory_allocated()} if hasattr(module, "max_memory_allocated") else {}


def compare_kernels(device: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Yields the largest difference of a layer with torch's kernels of a step from one without, and both times."""
    for case in (c for c in CASES if c.name in ("tiny", "gru")):
        layer, x = case.layer().to(device), case.padded().to(device).requires_grad_()
        run = TASKS["training"](layer_output := Output(layer), x.detach())
        results, seconds = [], []
        for has_kernels in (_kernels.has_operations, lambda _: False):
            with patch.object(_kernels, "has_operations", has_kernels), precision_context("float32", device):
                y = layer_output(x)
                grads = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
                results.append([y.detach(), *grads])
                seconds.append(round(median(seconds_of_calls(run, rounds, device)), 7))
        errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True)]
        row = {"title": case.title, "has_kernels": _kernels.has_operations(torch.device(device).type)}
        yield row | {"output_error": errors[0], "gradient_error": max(errors[1:]), "seconds": seconds}


def time_tasks(device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """Yields the time of a warm run of complete tasks, in seconds."""
    edge = 128 if quick else 1024
    runs = {f"nowcast of {edge}², 12 frames": partial(tasks.nowcast, edge, device)}
    for name, sample in tasks.RECIPES.items():
        for bf16 in (False, True):
            title = f"training step of `{name}`, {'bfloat16' if bf16 else 'float32'}"
            runs[title] = partial(tasks.training_step, name, sample, bf16, device)
    count = 10 if quick else 1000
    runs[f"{count:,} spoken digits"] = partial(tasks.classify_sounds, count, device)
    for title, prepare in runs.items():
        try:
            run = prepare()
            reset_peak(device)
            times = [_seconds(run, device) for _ in range(2 if quick else 3)]
            yield {"title": title, "seconds": round(min(times[1:]), 4)} | peak(device)
        except Exception as e:
            yield {"title": title, "error": f"{type(e).__name__}: {e}"[:200]}


def _seconds(run: Callable[[], Any], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter  # other programs may use the CPU as well
    start = clock()
    run()
    if device != "cpu":
        torch.accelerator.synchronize()
    return clock() - start


def run_tests(device: str) -> dict[str, Any]:
    """Runs the tests of ``make test-device``; returns their numbers by outcome, and the names of those that failed."""
    files = ("tests/device/test_work.py", "tests/device/test_training.py", "tests/train/test_parallel.py")
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-m", "slow or not slow", *files]
    environment = {**os.environ, "CONVRNN_ZOO_TEST_DEVICE": device}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    counts = re.findall(
        r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)", done.stdout.rpartition("\n=")[2] or done.stdout
    )
    failed = re.findall(r"^FAILED (\S+)", done.stdout, flags=re.MULTILINE)
    return {outcome: int(count) for count, outcome in counts} | ({"names": failed[:20]} if failed else {})


def describe_device(device: str) -> dict[str, Any]:
    """Returns the name of the device, the versions, and the load of the machine."""
    cuda: dict[str, Any] = {}
    if device == "cuda":
        cuda = {"cuda": torch.version.cuda, "rocm": torch.version.hip, "cudnn": torch.backends.cudnn.version()}
        cuda["memory_bytes"] = torch.cuda.get_device_properties(0).total_memory
    host = machine("cpu" if device == "cpu" else "wall")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    module = torch.get_device_module(device)
    name = module.get_device_name() if hasattr(module, "get_device_name") else host["processor"]
    system = {"system": platform.system(), "python": platform.python_version(), "cores": os.cpu_count()}
    return {"device": device, "name": name, **host, **cuda, **system, "load": load}


def keep(rows: Iterator[dict[str, Any]], report: dict[str, Any], part: str, out: Path) -> None:
    """Prints each row, adds it to a part of the report, and writes the report: a long run may be interrupted."""
    for row in rows:
        click.echo(json.dumps(row))
        report[part].append(row)
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


@click.command()
@click.option("--device", default="cpu", show_default=True, help="Device of torch: cuda, mps, xpu or cpu.")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="Timed calls of each layer.")
@click.option("--tests/--no-tests", default=True, help="Run the tests of the device first.")
@click.option("--quick", is_flag=True, help="Two calls of one small layer and small tasks, to try the report.")
@click.option("-o", "--output", "out", required=True, type=click.Path(path_type=Path, dir_okay=False))
def main(device: str, rounds: int, tests: bool, quick: bool, out: Path) -> None:
    """Test and measure a device, and write the report."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise click.UsageError(f"--device {device} is not available ({e}); pass cpu to measure this machine") from e
    if device == "cpu":
        torch.set_num_threads(1)  # so that the processor time is that of the work
    report: dict[str, Any] = {"machine": describe_device(device), "rounds": 2 if quick else rounds}
    report["tests"] = run_tests(device) if tests and not quick else None
    report["kernels"], report["layers"], report["tasks"] = [], [], []
    keep(compare_kernels(device, report["rounds"]), report, "kernels", out)
    modes = MODES if device == "cuda" else MODES[:1] if quick else MODES[:2]
    precisions = [p for p in PRECISIONS if p != "tf32" or device == "cuda"]
    for case in CASES:
        if case.name in (("tiny",) if quick else CASE_NAMES):
            keep(time_on_device(case, device, report["rounds"], modes, precisions), report, "layers", out)
    keep(time_tasks(device, quick), report, "tasks", out)
    click.echo(f'{out}: send it with the issue form "Device report", or as a file in benchmarks/devices')


if __name__ == "__main__":
    main()
