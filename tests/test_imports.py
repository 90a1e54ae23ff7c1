"""Rules on imports that import-linter cannot express."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import convrnn_zoo

PACKAGE = Path(convrnn_zoo.__file__).parent


@pytest.mark.parametrize("file", sorted((PACKAGE / "models").rglob("*.py")), ids=lambda p: p.name)
def test_no_model_knows_a_loss(file):
    assert not re.search(r"\w+_loss\b|cross_entropy|\bnn\.\w+Loss\b", file.read_text(encoding="utf-8"))


def imports() -> dict[str, set[str]]:
    """Maps each module of the package to the modules that it imports, also inside functions and for types only."""
    names = {
        "convrnn_zoo." + ".".join(f.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): f
        for f in PACKAGE.rglob("*.py")
    }
    names = {name.rstrip("."): f for name, f in names.items()}
    imported: dict[str, set[str]] = {}
    for name, file in names.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imported[name] = set()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                base = package.rsplit(".", node.level - 1)[0] if node.level else ""
                module = ".".join(filter(None, [base, node.module]))
                targets = [f"{module}.{alias.name}" for alias in node.names] + [module]
            else:
                targets = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported[name] |= {t for t in targets if t in names and names[t].name != "__init__.py"} - {name}
    return imported


def test_no_two_files_import_each_other():
    direct = imports()
    assert len(direct) > 50
    reached = {name: set(targets) for name, targets in direct.items()}
    for _ in direct:  # one step per file reaches the transitive closure
        reached = {name: set().union(targets, *(reached[t] for t in targets)) for name, targets in reached.items()}
    assert not sorted(name for name, targets in reached.items() if name in targets)


def test_the_shared_bases_import_no_architecture():
    base = "convrnn_zoo.models.base"
    for name, targets in imports().items():
        if name.startswith(base):
            assert not [t for t in targets if t.startswith("convrnn_zoo.models.") and not t.startswith(base)], name


def test_names_that_a_package_exports_are_imported_from_it():
    for file in PACKAGE.glob("*/**/*.py"):
        package = ["convrnn_zoo", *file.relative_to(PACKAGE).parts[:-1]]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level or not node.module:
                continue
            *outer, module = package[: len(package) - node.level + 1] + node.module.split(".")
            if len(outer) > 1 and outer[1] != package[1]:  # of another folder
                exported = getattr(importlib.import_module(".".join(outer)), "__all__", ())
                names = [alias.name for alias in node.names if alias.name in exported]
                assert not names, f"{file.name}: import {', '.join(names)} from {'.'.join(outer)}, not from {module}"


PRIVATE = re.compile(r"torch\._|torch\.fx|make_fx|_inductor|_functorch|_dynamo|\bexec\(")


def test_private_parts_of_torch_are_in_five_places():
    """Weights in oneDNN's order, kernels of a step, transforms, the loop of an export, and limits of its sizes."""
    files = {
        str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py") if PRIVATE.search(f.read_text(encoding="utf-8"))
    }
    layers = {"layers/_conv.py", "layers/_kernels.py", "layers/_run.py"}
    assert files == {*layers, "models/nowcast/motion.py", "exporting/graph.py"}
