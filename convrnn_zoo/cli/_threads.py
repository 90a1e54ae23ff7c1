"""The number of threads of torch in the process of a command."""

import click

threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads on the CPU [default: as torch chooses, by OMP_NUM_THREADS or the number of cores].",
)


def set_threads(count: int | None) -> None:
    """Sets torch's number of threads to the value of ``--threads``, if there is one."""
    import torch  # not needed by commands without this option

    if count is not None:
        torch.set_num_threads(count)
