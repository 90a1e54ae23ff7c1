"""Sets the text that PyPI shows: README with addresses in place of relative links. All else is in pyproject.toml."""

import re
import runpy
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
IMAGES = (".gif", ".png", ".svg")


def readme() -> str:
    """Returns README with links to the files of this version in the repository, where PyPI finds them."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
    version = runpy.run_path(str(ROOT / "convrnn_zoo" / "_version.py"))["__version__"]

    def address(link: re.Match[str]) -> str:
        return f"]({source}/{'raw' if link[1].endswith(IMAGES) else 'blob'}/v{version}/{link[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", address, (ROOT / "README.md").read_text(encoding="utf-8"))


setup(long_description=readme(), long_description_content_type="text/markdown")
