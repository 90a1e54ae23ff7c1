"""Runs the program that reads pickles in a process that has imported torch already, which takes seconds."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def run_program(arguments: list[str], errors: str) -> None:
    with open(errors, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def run(program: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Replaces ``subprocess.run([python, "-P", "-W", "ignore", FILE, *arguments], capture_output=True)``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "safetensors.torch"])
    with tempfile.TemporaryDirectory() as directory:
        errors = Path(directory) / "errors"
        process = context.Process(target=run_program, args=(program[4:], str(errors)))
        process.start()
        process.join()
        status = process.exitcode
        process.close()
        return subprocess.CompletedProcess(program, status, "", errors.read_text(encoding="utf-8"))
