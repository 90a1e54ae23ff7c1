"""What exports how, tried name by name: ``python -m tools.exports [PATTERN]`` writes it to ``exports.json``.

A name of the core family stands for those of its kind and dimension. Models are narrow, which changes no operation.
"""

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from convrnn_zoo import ExportError, create_model, export, list_models
from convrnn_zoo.onnx._export import plan_of

RECORD = Path(__file__).parent / "exports.json"
WAYS: dict[str, dict[str, Any]] = {
    "sequence": {"form": "sequence", "format": "onnx"},
    "step": {"form": "step", "format": "onnx"},
    "torch": {"form": "sequence", "format": "torch"},
}
"""The columns of the table, and the arguments of each."""
CORE = re.compile(r"(conv\w+?)([123])d(_bi)?_\dlayer")
_STANDS_FOR = re.compile(r"conv\w+?(?:[123]d|2d_bi)_2layer")


def names() -> list[str]:
    """The names that are tried."""
    return [n for n in list_models() if not CORE.fullmatch(n) or _STANDS_FOR.fullmatch(n)]


def narrow(name: str) -> Any:
    """The architecture with few channels, untrained."""
    model = create_model(name, in_chans=1, hidden_channels=4)
    return model.eval()


def attempt(name: str) -> dict[str, str]:
    """For each way the files that came of it, or why none did."""
    model, found = narrow(name), {}
    for way, arguments in WAYS.items():
        suffix = ".pt2" if arguments["format"] == "torch" else ".onnx"
        with tempfile.TemporaryDirectory() as directory:
            try:
                files = export(model, Path(directory, f"NAME{suffix}"), **arguments)
            except ExportError as e:
                found[way] = f"refused: {e}"
            else:
                found[way] = " and ".join(file.name for file in files)
    return found


def claimed(name: str, way: str) -> str | None:
    """Why the package refuses a way without trying, or None."""
    try:
        plan_of(narrow(name), WAYS[way]["form"], False, None, None)
    except ExportError as e:
        return f"refused: {e}"
    return None


def recorded() -> dict[str, dict[str, str]]:
    """What was found when it was last tried."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def main(argv: Sequence[str]) -> int:
    """Tries the names of a pattern, or all, and keeps what was found."""
    known = names()
    found = {n: r for n, r in recorded().items() if n in known}
    for name in known:
        if fnmatch(name, argv[0] if argv else "*"):
            found[name] = attempt(name)
            print(name, found[name], flush=True)
            ordered = {n: found[n] for n in known if n in found}
            RECORD.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
