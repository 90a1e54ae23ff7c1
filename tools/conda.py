"""Writes the recipe for conda-forge from a source distribution: ``python -m tools.conda dist/convrnn_zoo-X.tar.gz``.

Requirements and their lower bounds are those of pyproject.toml. The recipe is for conda-forge's ``staged-recipes``.
"""

import hashlib
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NAMES = {"torch": "pytorch", "huggingface-hub": "huggingface_hub"}
"""Names of packages that conda-forge calls otherwise."""
TEMPLATE = """\
# yaml-language-server: $schema=https://raw.githubusercontent.com/prefix-dev/recipe-format/main/schema.json
schema_version: 1

context:
  version: "{version}"
  python_min: "{python}"

package:
  name: {name}
  version: ${{{{ version }}}}

source:
  url: https://pypi.org/packages/source/{initial}/{name}/{module}-${{{{ version }}}}.tar.gz
  sha256: {sha256}

build:
  number: 0
  noarch: python
  script: ${{{{ PYTHON }}}} -m pip install . -vv --no-deps --no-build-isolation
  python:
    entry_points:
{entry_points}

requirements:
  host:
    - python ${{{{ python_min }}}}.*
    - pip
{build}
  run:
    - python >=${{{{ python_min }}}}
{run}

tests:
  - python:
      imports: [{module}]
      pip_check: true
      python_version: ${{{{ python_min }}}}.*
  - script: [convrnn-zoo list --pretrained]

about:
  homepage: {source}
  summary: "{description}"
  license: {license}
  license_file: [{license_files}]
  documentation: {documentation}
  repository: {source}

extra:
  recipe-maintainers: [GITHUB-NAME]
"""


def recipe(sdist: Path, project: dict[str, Any], build: list[str]) -> str:
    """Returns the recipe of a source distribution, whose name states the version.

    Args:
        sdist: the file that is on PyPI.
        project: the table ``[project]`` of pyproject.toml.
        build: the requirements of ``[build-system]``.
    """
    module, _, version = sdist.name.removesuffix(".tar.gz").rpartition("-")
    command = project["optional-dependencies"]["cli"]
    return TEMPLATE.format(
        name=project["name"],
        initial=project["name"][0],
        module=module,
        version=version,
        python=project["requires-python"].removeprefix(">="),
        sha256=hashlib.sha256(sdist.read_bytes()).hexdigest(),
        entry_points="\n".join(f"      - {name} = {target}" for name, target in project["scripts"].items()),
        build="\n".join(map(_requirement, build)),
        run="\n".join(map(_requirement, [*project["dependencies"], *command])),
        description=project["description"],
        license=project["license"],
        license_files=", ".join(project["license-files"]).replace("licenses/*", "licenses/"),
        source=project["urls"]["Source"],
        documentation=project["urls"]["Documentation"],
    )


def _requirement(text: str) -> str:
    name, bound, version = text.partition(">=")
    return f"    - {NAMES.get(name, name)} {bound}{version}"


if __name__ == "__main__":
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    print(recipe(Path(sys.argv[1]), pyproject["project"], pyproject["build-system"]["requires"]), end="")
