"""Mutates random lines of the package with cosmic-ray and lists the mutants that no test notices.

``make mutants COUNT=40 SEED=0`` works on a clone of what is committed. For a line of ``convrnn_zoo/a/b.py`` its
examples and the tests that are named after ``b`` or import it run, then all of ``tests/a`` and those of FURTHER, until
one fails. A mutant that no test notices survives: add a test with a telling input, or simplify the line. Some mutants
are equivalent to the original, so that 9 of 10 is the aim.

mutmut mutates whole files, changes no constants of classes and modules, and runs all tests before the first mutant.
"""

import random
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from . import ROOT

FOLDERS = ("layers", "models", "interop", "pretrained", "values", "data", "predict", "train", "exporting")
FURTHER = {
    "layers": ["tests/interop", "tests/models"],
    "models": ["tests/interop", "tests/exporting"],
    "interop": ["tests/pretrained", "tests/hub"],
    "pretrained": ["tests/hub", "tests/models"],
    "values": ["tests/data", "tests/predict"],
    "data": ["tests/data", "tests/predict", "tests/train"],
    "predict": ["tests/cli"],
    "train": ["tests/cli"],
    "exporting": ["tests/cli"],
}
"""Tests of other folders that compare values of a folder: with those of the original code, before a push, or read."""
OPERATORS = re.compile(
    "core/("
    "ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Add|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul)|"
    "ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)|"
    "ReplaceUnaryOperator_Delete_(Not|USub)|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceTrueWithFalse|"
    "ReplaceFalseWithTrue|ReplaceBreakWithContinue|ReplaceContinueWithBreak|AddNot|NumberReplacer|ZeroIterationForLoop"
    ")"
)
"""Mistakes that a person could make. Other changes, such as a shift of floats, fail wherever the line runs."""


def sample_mutants(root: Path, folders: Iterable[str], count: int, seed: int) -> list[Any]:
    """Returns a mutation for each of `count` random lines of folders of the package, which repeat with the seed."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names
    from cosmic_ray.work_item import MutationSpec

    operators = {name: get_operator(name)() for name in operator_names() if OPERATORS.fullmatch(name)}
    by_line = defaultdict(list)
    for path in sorted(path for folder in folders for path in (root / "convrnn_zoo" / folder).rglob("*.py")):
        nodes, lines = list(ast_nodes(get_ast_from_path(path))), path.read_text(encoding="utf-8").splitlines()
        for name, operator in operators.items():
            positions = (position for node in nodes for position in operator.mutation_positions(node))
            for number, (start, end) in enumerate(positions):
                before, after = lines[start[0] - 1][: start[1]], lines[start[0] - 1][start[1] :]
                # The strict mode of zip guards against our mistakes, and a * before keywords is no product.
                if not before.endswith("strict=") and not after.startswith("*,"):
                    by_line[path, start[0]].append(MutationSpec(path, name, number, start, end))
    generator = random.Random(seed)
    chosen = generator.sample(sorted(by_line), min(count, len(by_line)))
    return [generator.choice(by_line[line]) for line in chosen]


def test_command(root: Path, file: Path) -> str:
    """Returns the command that runs the tests of a file of the package in a checkout until one fails."""
    inner = file.relative_to(root / "convrnn_zoo")
    folder = next(root / "tests" / path for path in inner.parents if (root / "tests" / path).is_dir())
    imports = re.compile(rf"^(from|import) convrnn_zoo.*\b{inner.stem}\b", re.MULTILINE)
    named = [
        path
        for path in sorted(folder.glob("test_*.py"))
        if path.name.startswith(f"test_{inner.stem.strip('_')}") or imports.search(path.read_text(encoding="utf-8"))
    ]
    runs: list[list[Any]] = [[file, *named], [folder], *([further] for further in FURTHER.get(inner.parts[0], ()))]
    pytest = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-p", "no:xdist"]
    commands = [shlex.join(map(str, [*pytest, *paths])) for paths in runs]
    tests = " && ".join(f"{{ {command} || test $? -eq 5; }}" for command in commands)  # 5: no tests
    return shlex.join(["sh", "-c", f"cd {shlex.quote(str(root))} && export PYTHONPATH=$PWD && {tests}"])


def survives(mutation: Any, root: Path, timeout: float) -> bool:
    """Returns whether the tests of a checkout pass with a mutation. They fail if they run longer than `timeout`."""
    from cosmic_ray.mutating import mutate_and_test

    file = mutation.module_path
    result = mutate_and_test([mutation], test_command(root, file), timeout)
    outcome = result.test_outcome and result.test_outcome.value
    if outcome not in ("killed", "survived"):
        raise RuntimeError(f"{file}:{mutation.start_pos[0]} was not mutated: {result.output}")
    changed = re.findall(r"^([-+](?![-+]).*)$", result.diff or "", re.MULTILINE)
    word = "SURVIVES" if outcome == "survived" else "noticed "
    click.echo("\n  ".join([f"{word} {file.relative_to(root)}:{mutation.start_pos[0]}", *changed]))
    return outcome == "survived"


@click.command()
@click.argument("folders", nargs=-1)
@click.option("--count", default=40, show_default=True, help="Number of lines.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@click.option("--jobs", default=1, show_default=True, help="Mutants that are tested at the same time.")
@click.option("--timeout", default=900.0, show_default=True, help="Seconds after which a mutant counts as noticed.")
def main(folders: tuple[str, ...], count: int, seed: int, jobs: int, timeout: float) -> None:
    """Test mutants of FOLDERS of the package [default: layers pretrained data train]."""
    with TemporaryDirectory() as directory:

        def test(job: int) -> list[bool]:
            root = Path(directory) / str(job)
            subprocess.run(["git", "clone", "--quiet", ROOT, root], check=True)
            mutations = sample_mutants(root, folders or FOLDERS, count, seed)
            return [survives(mutation, root, timeout) for mutation in mutations[job::jobs]]

        with ThreadPoolExecutor(jobs) as pool:
            results = [result for share in pool.map(test, range(jobs)) for result in share]
    noticed = len(results) - sum(results)
    click.echo(f"{noticed} of {len(results)} mutants were noticed")
    sys.exit(noticed < 0.9 * len(results))


if __name__ == "__main__":
    main()
