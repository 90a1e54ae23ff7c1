"""Runs the fuzzer on one target: ``python -m fuzz config -max_total_time=150``.

The inputs are kept in ``runs/fuzz/TARGET``, so that the next run goes on from them. A finding is written to
``runs/fuzz/TARGET-crash-…`` (or ``-timeout-``, ``-oom-``), and ``python -m fuzz TARGET FILE`` repeats it. Options that
begin with ``-`` are those of libFuzzer.
"""

import logging
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["convrnn_zoo"]):
    from fuzz.targets import TARGETS, check

RUNS = Path("runs/fuzz")


def main() -> None:
    """Writes the valid inputs and starts libFuzzer, which does not return."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m fuzz {{{','.join(TARGETS)}}} [FILE] [-option=value ...]")
    program, target, *options = sys.argv
    corpus = RUNS / target
    corpus.mkdir(parents=True, exist_ok=True)
    for name, content in TARGETS[target].seeds().items():
        (corpus / name).write_bytes(content)
    files = [o for o in options if not o.startswith("-")]
    settings = [f"-artifact_prefix={corpus}-", "-timeout=60", "-rss_limit_mb=4096", "-max_len=65536"]
    logging.disable()
    warnings.simplefilter("ignore")
    atheris.Setup([program, *settings, *options, *([] if files else [str(corpus)])], lambda data: check(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
