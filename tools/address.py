"""Moves the project to another repository: ``python -m tools.address https://github.com/OWNER/NAME``.

The address is stated in docs/project/address once the repository is public, and in pyproject.toml, under
``[project.urls]``. This program writes both, and replaces the address wherever files repeat it. Badges, the citation
and the site show it only if docs/project/address states it.
"""

import argparse
import contextlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_NOT_TRACKED = re.compile(r"\.git|\.venv.*|build|dist|runs|site|__pycache__|.*_cache|.*\.egg-info|\.hypothesis")
_REPOSITORY = re.compile(
    r"(?:github\.com|githubusercontent\.com|colab\.research\.google\.com/github)/(?!OWNER/)([\w.-]+/convrnn_zoo\b)"
)
_SITE = re.compile(r"[\w-]+\.github\.io/convrnn_zoo\b")


FILE = Path("docs/project/address")


def public_address(root: Path = ROOT) -> str:
    """Returns the address of the public repository, or ``""`` before there is one."""
    address = (root / FILE).read_text(encoding="utf-8").strip()
    return "" if address.startswith("#") else address


def addresses(root: Path = ROOT) -> tuple[str, str]:
    """Returns the addresses of repository and site, without a slash at the end."""
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Source"].rstrip("/"), urls["Documentation"].rstrip("/")


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields the text files of a checkout with their contents. Environments and build outputs are left out."""
    for path in sorted(root.rglob("*")):
        if any(map(_NOT_TRACKED.fullmatch, path.relative_to(root).parts)) or path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            with contextlib.suppress(UnicodeDecodeError):
                yield path, content.decode("utf-8")


def move(source: str, site: str, root: Path = ROOT) -> list[Path]:
    """Replaces the addresses of repository and site in all text files, and returns the files that changed.

    Raises:
        ValueError: `source` is not the address of a repository on GitHub.
    """
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", source):
        raise ValueError(f"expected https://github.com/OWNER/NAME, got {source!r}")
    old_source, old_site = addresses(root)
    old_name, new_name = (address.removeprefix("https://github.com/") for address in (old_source, source))
    name = re.compile(rf"(?<=/){re.escape(old_name)}(?![\w-])")
    changed = []
    if public_address(root) != source:
        (root / FILE).write_text(f"{source}\n", encoding="utf-8")
        changed.append(root / FILE)
    for path, text in texts(root):
        new = text.replace(old_site.removeprefix("https://"), site.rstrip("/").removeprefix("https://"))
        new = name.sub(new_name, new)
        if new != text:
            path.write_text(new, encoding="utf-8", newline="")
            changed.append(path)
    return changed


def leftovers(root: Path = ROOT) -> dict[Path, set[str]]:
    """Returns the files that name another repository or site of this project than pyproject.toml does."""
    source, site = (address.removeprefix("https://") for address in addresses(root))
    name = source.removeprefix("github.com/")
    found = {}
    for path, text in texts(root):
        others = {n for n in _REPOSITORY.findall(text) if n != name}
        others |= {s for s in _SITE.findall(text) if s != site}
        if others:
            found[path] = others
    return found


def main() -> None:
    """Replaces the addresses and prints the files that changed."""
    parser = argparse.ArgumentParser(description="Replaces the address of the repository everywhere.")
    parser.add_argument("source", help="https://github.com/OWNER/NAME")
    parser.add_argument("--site", help="address of the documentation [default: https://OWNER.github.io/NAME]")
    args = parser.parse_args()
    owner, _, name = args.source.removeprefix("https://github.com/").partition("/")
    for path in move(args.source, args.site or f"https://{owner.lower()}.github.io/{name}"):
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
