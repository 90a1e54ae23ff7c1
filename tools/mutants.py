"""Mutates random lines of the package and reports which mutants its tests do not notice.

``python -m tools.mutants --count 40 --seed 0`` changes one operator, constant or condition on each of 40 random lines,
in a copy of the checkout. For a line of ``convrnn_zoo/a/b.py`` the tests of ``b`` run, then all of ``tests/a``, until
one fails. A mutant that no test notices survives: add a test with a telling input, or simplify the line. Some mutants
are equivalent to the original, so that 9 of 10 is the aim.

No mutation tool is used, because the sample is of lines and every line has tests of its own. mutmut replaces each
function by a dispatcher, which changes the signatures that models read. cosmic-ray runs one command for all mutants of
a module, and lists them all first.
"""

import ast
import copy
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import click

ROOT = Path(__file__).parent.parent
FOLDERS = ("layers", "pretrained", "data", "train")
SWAPS: dict[type, Any] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A changed line of a file of the package."""

    file: str
    line: int
    before: str
    after: str
    source: str
    """Text of the file with the change."""


def mutations(node: ast.AST) -> Iterator[ast.AST]:
    """Yields changed copies of an expression or an ``if``: another operator, number or truth value."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.BinOp | ast.BoolOp) and type(new.op) in SWAPS:
        new.op = SWAPS[type(new.op)]()
        yield new
    elif isinstance(new, ast.Compare) and type(new.ops[0]) in SWAPS:
        new.ops[0] = SWAPS[type(new.ops[0])]()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        yield new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool | int | float):
        new.value = not new.value if isinstance(new.value, bool) else new.value + 1
        yield new
    elif isinstance(new, ast.IfExp):
        new.body, new.orelse = new.orelse, new.body
        yield new


def find_mutants(source: str, file: str) -> Iterator[Mutant]:
    """Yields the mutants of a file. Annotations, messages and docstrings are not changed."""
    lines = source.splitlines(keepends=True)
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        parts: list[ast.AST | None] = [getattr(node, name, None) for name in ("annotation", "returns")]
        parts += [node] if isinstance(node, ast.JoinedStr | ast.Raise) else []
        skipped |= {id(inner) for part in parts if part for inner in ast.walk(part)}
        if id(node) in skipped or not isinstance(node, ast.expr):
            continue
        start, end = node.lineno, node.end_lineno
        if start != end:
            continue
        # The columns of ast count bytes.
        text = lines[start - 1].encode()
        for new in mutations(node):
            before = text[node.col_offset : node.end_col_offset].decode()
            after = f"({ast.unparse(new)})"
            line = text[: node.col_offset] + after.encode() + text[node.end_col_offset :]
            changed = "".join([*lines[: start - 1], line.decode(), *lines[start:]])
            yield Mutant(file, start, before, after, changed)


def sample_mutants(root: Path, folders: tuple[str, ...], count: int, seed: int) -> list[Mutant]:
    """Returns one mutant of each of `count` random lines, the same ones for the same files and seed."""
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for folder in folders:
        for path in sorted((root / "convrnn_zoo" / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for mutant in find_mutants(path.read_text(encoding="utf-8"), file):
                by_line.setdefault((file, mutant.line), []).append(mutant)
    generator = random.Random(seed)
    chosen = generator.sample(sorted(by_line), min(count, len(by_line)))
    return [generator.choice(by_line[line]) for line in chosen]


def pytest_paths(root: Path, file: str) -> list[list[str]]:
    """Returns arguments of pytest: the tests named after a file, then those of its folder, or of the next one above."""
    inner = Path(file).relative_to("convrnn_zoo")
    folder = root / "tests" / inner.parent
    while not folder.is_dir():
        folder = folder.parent
    named = sorted(folder.glob(f"test_{inner.stem.strip('_')}*.py"))
    paths = [[path.relative_to(root).as_posix() for path in named], [folder.relative_to(root).as_posix()]]
    return [each for each in paths if each]


def survives(mutant: Mutant, checkout: Path, timeout: float) -> bool:
    """Returns whether the tests pass with a mutant in a copy of the checkout, which is restored."""
    file = checkout / mutant.file
    original = file.read_text(encoding="utf-8")
    file.write_text(mutant.source, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    try:
        for paths in pytest_paths(checkout, mutant.file):
            command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-p", "no:xdist", *paths]
            done = subprocess.run(
                command, cwd=checkout, env=environment, capture_output=True, timeout=timeout, check=False
            )
            if done.returncode not in (0, 5):  # 5: no tests
                return False
    except subprocess.TimeoutExpired:
        return False  # such as an endless loop
    finally:
        file.write_text(original, encoding="utf-8")
    return True


def copy_checkout(root: Path, into: Path) -> None:
    """Copies the files of a checkout that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, into / name)


@click.command()
@click.argument("folders", nargs=-1)
@click.option("--count", default=40, show_default=True, help="Number of lines.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--jobs", default=1, show_default=True, help="Mutants that are tested at the same time.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds after which a mutant counts as noticed.")
def main(folders: tuple[str, ...], count: int, seed: int, jobs: int, timeout: float) -> None:
    """Test mutants of FOLDERS of the package [default: layers pretrained data train]."""
    mutants = sample_mutants(ROOT, folders or FOLDERS, count, seed)
    with TemporaryDirectory() as directory:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copy_checkout(ROOT, Path(directory) / str(number))
            free.put(Path(directory) / str(number))

        def test(mutant: Mutant) -> bool:
            checkout = free.get()
            try:
                result = survives(mutant, checkout, timeout)
            finally:
                free.put(checkout)
            word = "SURVIVES" if result else "noticed "
            click.echo(f"{word} {mutant.file}:{mutant.line}  {mutant.before}  →  {mutant.after}")
            return result

        with ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(test, mutants))
    noticed = len(results) - sum(results)
    click.echo(f"{noticed} of {len(results)} mutants were noticed")
    sys.exit(noticed < 0.9 * len(results))


if __name__ == "__main__":
    main()
