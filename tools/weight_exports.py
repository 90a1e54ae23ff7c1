"""Exports the weights of each architecture in every format and writes ``weight_exports.json``.

``python -m tools.weight_exports [PATTERN [COLUMN …]]`` runs one set of weights for each architecture. It needs
ExecuTorch. Each file is compared with the model before it is kept, and then timed.
"""

import json
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import convrnn_zoo
from convrnn_zoo import ExportError, from_pretrained
from convrnn_zoo.exporting.backend import CHECKED_SIZES, dynamic_sizes
from convrnn_zoo.exporting.executorch import limit
from convrnn_zoo.exporting.export import LOADERS, SUFFIX, copy_model, make_spec, usual_bounds

RECORD = Path(__file__).parent / "weight_exports.json"
WAYS = {
    "onnx sequence": ("sequence", "onnx"), "onnx step": ("step", "onnx"), "torch sequence": ("sequence", "torch"),
    "executorch sequence": ("sequence", "executorch"), "executorch step": ("step", "executorch"),
}  # fmt: skip
"""Columns of the table with their form and format."""


def names() -> list[str]:
    """Returns one set of weights for each architecture: the recorded one, or the first."""
    chosen = {name.partition(".")[0]: name for name in recorded() if name in convrnn_zoo.WEIGHTS}
    for name in convrnn_zoo.WEIGHTS:
        chosen.setdefault(name.partition(".")[0], name)
    return sorted(chosen.values())


def attempt(name: str, way: str) -> dict[str, Any]:
    """Returns the size of the files in bytes and the time of a call in ms, or the reason why there are none."""
    form, format = WAYS[way]
    model: Any = from_pretrained(name)
    with tempfile.TemporaryDirectory() as directory:
        try:
            files = convrnn_zoo.export(model, Path(directory, "a" + SUFFIX[format]), form, format)  # type: ignore[arg-type]
        except ExportError as e:
            return {"error": str(e)}
        horizon = model.horizon if (form, format) == ("sequence", "executorch") and hasattr(model, "horizon") else None
        spec = make_spec(copy_model(model, format, None), form, horizon=horizon)
        if format == "executorch":
            spec = usual_bounds(model, spec, form)
        batch = {"batch": 2 if format == "torch" else 1}  # some programs of torch take no single sequence
        sizes = limit(dynamic_sizes(spec, CHECKED_SIZES[0]) | batch, spec.max_size)
        times = []
        for file, graph in zip(files, spec.graphs.values(), strict=True):
            run, values = LOADERS[format](file, graph), {t.name: t.sample(sizes) for t in graph.inputs}
            each = []
            for _ in range(5):
                start = time.process_time()
                run(values)
                each.append(time.process_time() - start)
            times.append(min(each))
        frame = [t.shape(sizes) for t in spec.graphs[next(iter(spec.graphs))].inputs if t.name == "input"]
        return {"bytes": sum(f.stat().st_size for f in files), "ms": round(1e3 * sum(times), 2), "input": frame[0]}


def recorded() -> dict[str, Any]:
    """Returns the results of the last run."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def main(argv: Sequence[str]) -> int:
    """Exports the weights that match a pattern and saves the results."""
    warnings.simplefilter("ignore")
    from importlib.metadata import version

    for name in names():
        if fnmatch(name, argv[0] if argv else "*"):
            for way in WAYS:
                results = recorded()
                if argv[1:] and way not in argv[1:]:
                    continue
                result = attempt(name, way)
                print(name, way, result, flush=True)
                results.setdefault(name, {})[way] = result
                results["versions"] = {p: version(p) for p in ("torch", "onnxruntime", "executorch")}
                results["versions"]["machine"] = platform.machine()
                ordered = {n: results[n] for n in ("versions", *names()) if n in results}
                RECORD.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
