"""Tries the export of every architecture and writes ``exports.json``: ``python -m tools.exports [PATTERN]``.

Of names with the same classes of network, encoder and layers, one is tried, with few channels.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from convrnn_zoo import ExportError, create_model, list_models
from convrnn_zoo.exporting.export import SUFFIX, copy_model, trace_all, write
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.layers._base import Equations
from convrnn_zoo.pretrained.registry import SMALL

RECORD = Path(__file__).parent / "exports.json"
WAYS = {"sequence": ("sequence", "onnx"), "step": ("step", "onnx"), "torch": ("sequence", "torch")}
"""Columns of the table with their form and format."""


@cache
def names() -> dict[str, list[str]]:
    """Maps each name that is tried to the names that it represents."""
    kinds: dict[Any, list[str]] = {}
    for name in list_models():
        model = create_model(name, device="meta")
        layers = [m for m in model.modules() if isinstance(m, Equations)]
        encoder = getattr(getattr(model, "encoder", None), "name", None)
        kind = type(model), encoder, *{type(m): getattr(m, "bidirectional", False) for m in layers}.items()
        kinds.setdefault(kind, []).append(name)
    return {of_kind[0]: of_kind for of_kind in kinds.values()}


CHANNELS = {"audio_convrnn": 8, "sg_convlstm": 5}  # torch.export supports no map of one pixel; the mask is a channel


def narrow(name: str, **kwargs: Any) -> Any:
    """Builds an untrained architecture with few channels."""
    return create_model(name, **{"in_chans": CHANNELS.get(name, 1), **SMALL[name], **kwargs}).eval()


def attempt(name: str) -> dict[str, str]:
    """Returns, for each of :data:`WAYS`, the exported files or the reason why the export is not supported."""
    claims = {way: claimed(name, way) for way in WAYS}
    if all(claims.values()):
        return {way: str(why) for way, why in claims.items()}
    model = copy_model(narrow(name), "onnx", None)
    results: dict[str, str] = {}
    programs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        for way, (form, format) in WAYS.items():
            path = Path(directory, "NAME" + SUFFIX[format])
            try:
                spec = make_spec(model, form)
                programs[form] = programs.get(form) or trace_all(spec)  # shared by both formats: it takes longest
                files = write(path, format, spec, programs[form], {name: {} for name in spec.graphs}, lambda part: None)
            except ExportError as e:
                results[way] = f"error: {e}"
            else:
                results[way] = " and ".join(file.name for file in files)
                if "frames" in spec.metadata:
                    results[way] += f" (frames {spec.metadata['frames']})"
    return results


def claimed(name: str, way: str) -> str | None:
    """Returns the reason why the package rejects one of :data:`WAYS` before the export, or None."""
    try:
        is_large = create_model(name, device="meta").has_frame_encoder  # the width of an encoder is fixed
        make_spec(narrow(name, **({"device": "meta"} if is_large else {})), WAYS[way][0])
    except ExportError as e:
        return f"error: {e}"
    return None


def recorded() -> dict[str, dict[str, str]]:
    """Returns the results of the last run."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def main(argv: Sequence[str]) -> int:
    """Tries the names that match a pattern and saves the results."""
    known = list(names())
    for name in known:
        if fnmatch(name, argv[0] if argv else "*"):
            result = attempt(name)
            print(name, result, flush=True)
            results = {**recorded(), name: result}
            ordered = {n: results[n] for n in known if n in results}
            RECORD.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
