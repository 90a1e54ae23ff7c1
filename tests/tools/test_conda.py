"""The recipe for conda-forge has the requirements of pyproject.toml."""

import hashlib
import shlex
import tomllib
from pathlib import Path

import yaml

from tests.helpers.command_line import run as run_command
from tools.conda import ROOT, recipe


def test_the_recipe_is_that_of_the_distribution(tmp_path: Path) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sdist = tmp_path / "convrnn_zoo-1.2.3.tar.gz"
    sdist.write_bytes(b"content")
    pythons = [c.rpartition(" ")[2] for c in pyproject["project"]["classifiers"] if " :: 3." in c]
    text = recipe(sdist, pyproject["project"], pyproject["build-system"]["requires"])
    content = yaml.safe_load(text)
    assert content["context"] == {"version": "1.2.3", "python_min": min(pythons)}
    assert content["source"]["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert content["source"]["url"].endswith("/c/convrnn-zoo/convrnn_zoo-${{ version }}.tar.gz")
    run = [line for line in content["requirements"]["run"] if not line.startswith("python ")]
    bounds = dict(line.split(" >=") for line in run)
    assert set(bounds) == {"pytorch", "timm", "huggingface_hub", "safetensors", "click", "numpy"}
    assert f"torch>={bounds['pytorch']}" in pyproject["project"]["dependencies"]
    assert content["build"]["python"]["entry_points"] == ["convrnn-zoo = convrnn_zoo_command:main"]
    assert [file for file in content["about"]["license_file"] if not (ROOT / file).exists()] == []
    for command in content["tests"][1]["script"]:
        run_command(*shlex.split(command)[1:])
