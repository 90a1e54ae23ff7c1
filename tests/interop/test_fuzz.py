"""Mutated files of every format that the converters read end in a model or in one error, within 2 GB.

More mutants than the slow test tries: ``python -m tests.interop.test_fuzz COUNT SEED``.
"""

import collections
import os
import random
import shutil
import struct
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from benchmarks.memory import peak_memory, rise
from convrnn_zoo import interop
from convrnn_zoo.interop._checkpoint import read_checkpoint
from tests.helpers.interop.examples import STATES
from tests.helpers.interop.openstl_states import MODELS, known
from tests.helpers.interop.recorded import ASKED, KERAS

MEMORY = 2 * 2**30
SECONDS = 60


def seeds(directory: Path) -> list[tuple[Path, str, dict[str, Any]]]:
    """Writes one valid file per source and format, with the options of its conversion."""
    seed_files: list[tuple[Path, str, dict[str, Any]]] = []
    states = {source: (source, *example) for source, example in STATES.items() if source != "keras"}
    states |= {name: ("openstl", known(name).state, options) for name, (_, options) in MODELS.items()}
    for name, (source, state, options) in states.items():
        plain = {key: value.contiguous().clone() for key, value in state.items()}
        torch.save({"state_dict": plain, "epoch": 3}, directory / f"{name}.pth")
        torch.save(plain, directory / f"{name}.legacy.pth", _use_new_zipfile_serialization=False)
        save_file(plain, directory / f"{name}.safetensors")
        seed_files += [(directory / f"{name}{end}", source, options) for end in (".pth", ".legacy.pth", ".safetensors")]
    files: dict[str, dict[str, Any]] = {
        "hard1d.keras": {},
        "bi_valid1d.keras": {},
        "stack.keras": {"layer": "first"},
        "stack.h5": {"layer": "second"},
        "stack.weights.h5": {"layer": "first", **ASKED},
    }
    for name, options in files.items():
        shutil.copy(KERAS / name, directory / name)
        seed_files.append((directory / name, "keras", options))
    return seed_files


# ---- mutations -------------------------------------------------------------------------------------------------------
def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 3, 30])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_bits_of_the_head(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 3, 10])):
        data[rng.randrange(min(len(data), 2048))] ^= 1 << rng.randrange(8)


def write_large_numbers(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 5])):
        size, form = rng.choice([(4, "<I"), (8, "<Q"), (2, "<H")])
        at = rng.randrange(max(len(data) - size, 1))
        data[at : at + size] = struct.pack(form, rng.choice([0, 1, 2**15, 2**16 - 1, 2**31, 2**40]) % 256**size)


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def cut_out(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 4, 64, 1000])]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.choice([1, 8, 64, 1000])]


def change_digits(data: bytearray, rng: random.Random) -> None:
    """Changes numbers in text, such as shapes in a header of safetensors or strides in a description of Keras."""
    digits = [i for i, byte in enumerate(data[:20000]) if 48 <= byte < 58]
    for at in rng.sample(digits, min(len(digits), rng.choice([1, 3]))):
        data[at] = 48 + rng.randrange(10)


MUTATIONS = [flip_bits, flip_bits_of_the_head, write_large_numbers, truncate, cut_out, repeat, change_digits]


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def mutate_member(content: bytes, rng: random.Random, directory: Path) -> bytes:
    """Changes a member of an archive and updates the checksums, so that readers accept the archive."""
    source, target = directory / "old", directory / "new"
    source.write_bytes(content)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", rng.choice([0, 0, zipfile.ZIP_DEFLATED])) as new:
        names = old.namelist()
        selected = rng.choice(names)
        for name in names:
            member = old.read(name)
            new.writestr(name, mutate_bytes(member, rng) if name == selected and member else member)
    return target.read_bytes()


def has_complex() -> bool:
    """Returns whether safetensors stores complex numbers, which older versions do not."""
    try:
        return bool(save({"x": torch.zeros(1, dtype=torch.complex64)}))
    except KeyError:
        return False


HAS_COMPLEX = has_complex()
VALUES: list[Callable[[Tensor], Any]] = [
    lambda v: v[:0],
    lambda v: v[..., :1],
    lambda v: v.flatten(),
    lambda v: v[None],
    lambda v: v.transpose(0, -1).contiguous(),
    lambda v: torch.cat([v, v]),
    lambda v: (v.real if v.is_complex() else v).int(),
    lambda v: v.half(),
    lambda v: v.bool(),
    lambda v: v.to(torch.complex64 if HAS_COMPLEX else torch.float64),
    lambda v: v * float("nan"),
    lambda v: v * 0,
    lambda v: torch.zeros(()),
    lambda v: torch.zeros(1, 10**6, 1, 1),
    lambda v: torch.zeros(10**6, 1, 1, 1),
    lambda v: torch.zeros(0, 10**9),
]


def mutate_state(state: dict[str, Tensor], rng: random.Random) -> dict[str, Tensor]:
    """Changes keys or tensors of a valid file: the converters must detect the errors."""
    state = dict(state)
    for _ in range(rng.choice([1, 2, 5])):
        key = rng.choice(list(state))
        change = rng.randrange(4)
        if change == 0:
            del state[key]
        elif change == 1:
            digits = [i for i, c in enumerate(key) if c.isdigit()] or [0]
            at = rng.choice(digits)
            state[key[:at] + rng.choice(["7", "99", "123456789012", "", "x"]) + key[at + 1 :]] = state.pop(key)
        else:
            state[key] = rng.choice(VALUES)(state[key])
        if not state:
            break
    return state


def mutants(directory: Path, count: int, seed: int) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yields mutated files, in turn of every format and source."""
    rng = random.Random(seed)
    seed_files = seeds(directory)
    for i in range(count):
        path, source, options = seed_files[i % len(seed_files)]
        content = path.read_bytes()
        mutant = directory / f"mutant{''.join(path.suffixes)}"
        draw = rng.random()
        if path.suffix == ".safetensors" and draw < 0.7:
            state = mutate_state(read_checkpoint(path).state, rng)
            save_file({k: v.contiguous().clone() for k, v in state.items()}, mutant)
        elif zipfile.is_zipfile(path) and draw < 0.7:
            mutant.write_bytes(mutate_member(content, rng, directory))
        else:
            mutant.write_bytes(mutate_bytes(content, rng))
        if rng.random() < 0.1:
            options = {name: rng.choice([0, -1, "x", None, [1], 10**9, 1.5, True]) for name in options}
        yield mutant, rng.choice([source, source, source, "auto"]), options


# ---- the test --------------------------------------------------------------------------------------------------------
def convert(path: Path, source: str, options: dict[str, Any], directory: Path) -> str:
    """Converts a file as the command does: "converted", or the type of the error that a user is shown."""
    target = directory / "converted"
    shutil.rmtree(target, ignore_errors=True)
    try:
        interop.convert(source, path, target, **options)
    except (ValueError, OSError) as e:
        return f"{type(e).__name__}{'' if str(e).strip() else ' without a message'}"
    return "converted"


def run(count: int, seed: int, directory: Path, failures: Path | None = None) -> collections.Counter[str]:
    """Converts mutants and counts the results. Mutants that raise an unexpected error are copied to `failures`."""
    results: collections.Counter[str] = collections.Counter()
    for i, (path, source, options) in enumerate(mutants(directory, count, seed)):
        last = directory / "last"
        last.write_text(f"{i} {path} {source} {options}", encoding="utf-8")
        try:
            results[f"{''.join(path.suffixes)} {convert(path, source, options, directory)}"] += 1
        except Exception:
            if failures is None:
                raise
            shutil.copy(path, failures / f"{seed}.{i}{''.join(path.suffixes)}")
            print(i, source, options, traceback.format_exc(limit=-4), flush=True)
            results["traceback"] += 1
    return results


def run_limited(count: int, seed: int, directory: Path, memory: int = MEMORY) -> None:
    """Runs in a child process, which a limit of memory or of time ends without ending the tests."""
    import resource

    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + count, SECONDS + count))
            torch.set_num_threads(1)
            code = 3 if rise(lambda: run(count, seed, directory)) > memory else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"ended with {status} at {(directory / 'last').read_text(encoding='utf-8')}"


@pytest.mark.needs("linux")
def test_memory_of_the_process_before_does_not_count(tmp_path: Path) -> None:
    grown = b"x" * 2**30
    run_limited(0, 0, tmp_path, len(grown) // 2)
    del grown


@pytest.mark.needs("linux")
@pytest.mark.parametrize(("count", "seed"), [(60, 0), pytest.param(1000, 1, marks=pytest.mark.slow)])
def test_mutated_files_end_in_a_model_or_an_error(count: int, seed: int, tmp_path: Path) -> None:
    run_limited(count, seed, tmp_path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as d:
        print(run(int(sys.argv[1]), int(sys.argv[2]), Path(d), Path(tempfile.mkdtemp())))
    print(peak_memory() // 2**20, "MiB")
