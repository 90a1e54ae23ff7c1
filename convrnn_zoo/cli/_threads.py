"""The number of threads of torch in the process of a command."""

import time
from collections.abc import Callable
from typing import Any

import click
import torch
from torch import nn

threads_option = click.option(
    "--threads", type=click.IntRange(min=1),
    help="Number of threads on the CPU [default: all; one if this is faster in the first batches].",
)  # fmt: skip


class Threads:
    """Sets the number of torch's threads to the value of ``--threads``, or else to one or all, whichever is faster.

    Small networks are slower with several threads, which wait for each other at every convolution.

    Args:
        count: number of threads; None chooses it by timing.
        device: device of the model, by default an accelerator if there is one. The number is only chosen on the CPU.
        quiet: whether to print no message about the choice.
    """

    def __init__(self, count: int | None, device: torch.device | None = None, quiet: bool = False) -> None:
        self.most, self.quiet = torch.get_num_threads(), quiet
        on_cpu = device.type == "cpu" if device else not torch.accelerator.is_available()
        self.is_open = count is None and self.most > 1 and on_cpu
        if count is not None:
            torch.set_num_threads(count)

    def start_training(self, saved: int | None, step: Callable[[], None]) -> None:
        """Chooses the number of threads before the first update by timing `step`, which must not change the weights.

        A resumed run uses the number in its checkpoint, `saved`, since rounding errors depend on the number of threads.
        """
        if not self.is_open:
            return
        if saved is not None:
            self.is_open = False
            torch.set_num_threads(saved)
            return
        times: dict[int, list[float]] = {self.most: [], 1: []}
        step()  # a first step allocates memory
        for count in (*times, *times):
            torch.set_num_threads(count)
            start = time.perf_counter()
            step()
            times[count].append(time.perf_counter() - start)
        self._choose(min(times[1]), min(times[self.most]))

    def watch(self, model: nn.Module) -> None:
        """Times the second call of a model with one thread and the third with all, and keeps the faster number.

        The first call runs with all threads, and its time is ignored.
        """
        calls: list[float] = []  # seconds per value of the input
        begin = 0.0

        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            nonlocal begin
            if len(calls) < 3:
                torch.set_num_threads(1 if len(calls) == 1 else self.most)
            elif self.is_open:
                self._choose(calls[1], calls[2])
            begin = time.perf_counter()

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            size = args[0].numel() if args and isinstance(args[0], torch.Tensor) else 1
            if len(calls) < 3:
                calls.append((time.perf_counter() - begin) / size)

        if self.is_open:
            model.register_forward_pre_hook(before)
            model.register_forward_hook(after)

    def _choose(self, one: float, all_threads: float) -> None:
        self.is_open = False
        count = 1 if one <= all_threads else self.most
        torch.set_num_threads(count)
        if not self.quiet:
            faster = max(one, all_threads) / min(one, all_threads)
            other = self.most if count == 1 else 1
            click.echo(f"threads: {count}, {faster:.2g} times as fast as {other}; --threads N sets them", err=True)
