"""Imported packages are declared in pyproject.toml, and declared packages are used."""

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from convrnn_zoo.train.launch import TRACKERS
from tools.release import lowest, requirements

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = ("dev", "site", "test")
CONFIGURED = ("Makefile", "conftest.py", "mkdocs.yml", "pyproject.toml", "docs/how-to/extend-training.md")
CONFIGURATION = "".join((ROOT / f).read_text(encoding="utf-8") for f in CONFIGURED)
BY_CONFIGURATION = {
    "import-linter": "$(BIN)/lint-imports",
    "mkdocs-material": "name: material",
    "mkdocstrings": "- mkdocstrings:",
    "pytest-timeout": "PYTEST_TIMEOUT",
    "pytest-xdist": "-m pytest -n auto",
    "setuptools": 'build-backend = "setuptools.',
    "pytest-cov": "--cov=",
    **{command: f"$(BIN)/{command} " for command in ("mike", "mkdocs", "ruff")},
    "mypy": "$(BIN)/mypy\n",
    "optuna": "import optuna\n",
}
"""Packages that are used without an import, and the text of the configuration that uses them."""


@functools.cache
def distributions():
    """Distributions by the name of each package that they have."""
    return importlib.metadata.packages_distributions() | {"cv2": ["opencv-python-headless"]}  # which is not tested


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(module: str) -> str:
    """Returns the package that contains a module, under its name in pyproject.toml."""
    top = module.partition(".")[0]
    return normal(distributions().get(top, [top])[0])


def declared(*extras: str) -> set[str]:
    """Returns the required packages, including these extras."""
    return {normal(re.split(r"[\[>]", r)[0]) for r in requirements(PROJECT, *extras)}


def listed(extra: str) -> set[str]:
    """Returns the packages that an extra adds to the required ones."""
    return {normal(re.split(r"[\[>]", r)[0]) for r in EXTRAS[extra]} - declared() - {PROJECT["name"]}


OURS = {"convrnn_zoo", "convrnn_zoo_command", "tools", "benchmarks", "references", "fuzz", "tests"}
HERE = {*OURS, *(p.stem for p in (ROOT / "tests" / "timm_contract").glob("*.py")), *sys.stdlib_module_names}
"""Modules that belong to no distribution."""


def foreign(modules: Iterator[str]) -> set[str]:
    return {distribution(m) for m in modules if m.partition(".")[0] not in HERE}


def statements(nodes: list[ast.AST]) -> Iterator[str]:
    """Yields the modules that statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


def calls(nodes: list[ast.AST], *functions: str) -> Iterator[list[str]]:
    """Yields the string arguments of every call of functions with these names."""
    for node in nodes:
        if isinstance(node, ast.Call) and {getattr(node.func, "id", ""), getattr(node.func, "attr", "")} & {*functions}:
            yield [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]


def files(*folders: str) -> list[str]:
    return [p.relative_to(ROOT).as_posix() for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def nodes(file: str) -> list[ast.AST]:
    """Returns the calls and the statements that import, except those that only type checkers read."""
    found = list(ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
    types = [n for n in found if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    for_types = {node for branch in types for statement in branch.body for node in ast.walk(statement)}
    return [n for n in found if isinstance(n, ast.Import | ast.ImportFrom | ast.Call) and n not in for_types]


PACKAGE = files("convrnn_zoo")
DEVELOPMENT = files("tests", "tools", "benchmarks")
NOT_INSTALLED = {"earth2studio", "test-models", "torchgeo"}
"""timm's tests, which tests/timm_contract/run.py downloads, and a project that is compared if installed."""


@functools.cache
def needs() -> list[tuple[str, str, str]]:
    """Returns file, package and extra of every package that is imported on demand."""
    return [
        (file, distribution(module), extra)
        for file in PACKAGE
        for module, extra in filter(None, calls(nodes(file), "need"))
        if module != "json"  # of the function's own example
    ] + [("convrnn_zoo/train/launch.py", distribution(name), name) for name in TRACKERS]


def test_the_package_imports_what_it_requires() -> None:
    """The command line may also use its extra; all other optional packages must be requested with `need`."""
    required, of_commands = declared() | {"numpy"}, declared("cli")  # timm's torchvision requires numpy
    for file in PACKAGE:
        allowed = required | of_commands if file.startswith("convrnn_zoo/cli/") else required
        assert foreign(statements(nodes(file))) <= allowed, file


def test_an_extra_contains_the_packages_requested_in_its_name() -> None:
    assert len(needs()) > 50
    for file, package, extra in needs():
        assert package in declared(extra), (file, extra)


def test_required_packages_are_imported() -> None:
    assert declared() <= foreign(module for file in PACKAGE for module in statements(nodes(file)))


@pytest.mark.parametrize("extra", sorted({*EXTRAS} - {*FOR_DEVELOPERS}))
def test_packages_of_an_extra_are_used(extra: str) -> None:
    used = {package for _, package, of_extra in needs() if of_extra == extra}
    if extra == "cli":
        used |= {p for file in PACKAGE if "/cli/" in file for p in foreign(statements(nodes(file)))}
    used |= {distribution(m) for file in files("references") for m, e in calls(nodes(file), "need") if e == extra}
    # zarr, rioxarray, cfgrib and fsspec import them; the bound of numcodecs keeps out versions that run code of stores
    used |= {"aiohttp", "eccodes", "numcodecs", "rasterio", "s3fs"} & listed(extra)
    assert listed(extra) <= used


def test_tests_and_tools_import_packages_of_dev() -> None:
    allowed = declared("dev") | NOT_INSTALLED
    for file in DEVELOPMENT:
        assert foreign(statements(nodes(file))) <= allowed, file


@pytest.mark.parametrize("extra", FOR_DEVELOPERS)
def test_packages_of_developers_are_used(extra: str) -> None:
    used = foreign(module for file in DEVELOPMENT for module in statements(nodes(file)))
    used |= foreign(words[0] for file in DEVELOPMENT for words in calls(nodes(file), "importorskip") if words)
    used |= {package for package, words in BY_CONFIGURATION.items() if words in CONFIGURATION}
    used |= {"numcodecs"} & listed(extra)  # zarr imports it; the bound keeps out versions that run code of stores
    assert listed(extra) <= used


def test_the_table_of_versions_that_were_run_begins_with_the_lowest() -> None:
    section = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("## Tested versions")[2]
    header, first, *_ = (row.split(" | ") for row in re.findall(r"^\| (.*) \|$", section.lower(), re.MULTILINE))
    run = dict(zip(header, first, strict=True))
    bounds = lowest(requirements(PROJECT)) | {"python": PROJECT["requires-python"].removeprefix(">=")}
    for package in ("python", "torch", "timm", "huggingface-hub"):
        assert f"{run[package]}.".startswith(f"{bounds[package]}."), package
