"""Exports the weights of each architecture in every format and writes ``weight_exports.json``.

``python -m tools.weight_exports [PATTERN [COLUMN …]]`` runs one set of weights for each architecture. It needs
node for the browser and onnxruntime-web, which ``python -m tools.browser`` fetches. Each file is
compared with the model, and then timed.
"""

import base64
import json
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

import convrnn_zoo
from convrnn_zoo import ExportError, from_pretrained
from convrnn_zoo.exporting.backend import CHECKED_SIZES, compare, dynamic_sizes
from convrnn_zoo.exporting.export import LOADERS, SUFFIX, copy_model, make_spec
from convrnn_zoo.exporting.spec import GraphSpec, Sizes, Values
from tools import browser

RECORD = Path(__file__).parent / "weight_exports.json"
WAYS = {
    "onnx sequence": ("sequence", "onnx"),
    "onnx step": ("step", "onnx"),
    "torch sequence": ("sequence", "torch"),
    "browser": ("", "onnx"),
}
"""Columns of the table with their form and format; in the browser, the step form if there is one."""


def names() -> list[str]:
    """Returns one set of weights for each architecture: the recorded one, or the first."""
    chosen = {name.partition(".")[0]: name for name in recorded() if name in convrnn_zoo.WEIGHTS}
    for name in convrnn_zoo.WEIGHTS:
        chosen.setdefault(name.partition(".")[0], name)
    return sorted(chosen.values())


def attempt(name: str, way: str) -> dict[str, Any]:
    """Returns the size of the files, the time of a call and the difference from the model, or why there are none."""
    form, format = WAYS[way]
    model: Any = from_pretrained(name)
    if way == "browser":
        form = browser_form(model)
    with tempfile.TemporaryDirectory() as directory:
        try:
            files = convrnn_zoo.export(model, Path(directory, "a" + SUFFIX[format]), form, format)  # type: ignore[arg-type]
        except ExportError as e:
            return {"error": str(e)}
        spec = make_spec(copy_model(model, format, None), form)
        load = WebRunner if way == "browser" else LOADERS[format]
        runners = {key: load(f, graph) for f, (key, graph) in zip(files, spec.graphs.items(), strict=True)}
        batch = {"batch": 2 if format == "torch" else 1}  # some programs of torch take no single sequence
        sizes = dynamic_sizes(spec, CHECKED_SIZES[0]) | batch
        frame = [t.shape(sizes) for t in spec.graphs[next(iter(spec.graphs))].inputs if t.name == "input"]
        try:
            return {
                "bytes": sum(f.stat().st_size for f in files),
                "ms": round(sum(milliseconds(runners[key], graph, sizes) for key, graph in spec.graphs.items()), 2),
                "input": frame[0],
                "form": form,
                "difference": float(f"{compare(spec, runners, single=format == 'onnx'):.1e}"),
            }
        finally:
            for runner in runners.values():
                getattr(runner, "close", lambda: None)()


def browser_form(model: Any) -> str:
    """Returns the step form if the model has one."""
    try:
        make_spec(model, "step")
    except ExportError:
        return "sequence"
    return "step"


def milliseconds(run: Any, graph: GraphSpec, sizes: Sizes) -> float:
    """Returns the least processor time of five calls, in onnxruntime-web the least time."""
    values = {t.name: t.sample(sizes) for t in graph.inputs}
    times = []
    for _ in range(5):
        start = time.process_time()
        run(values)
        times.append(getattr(run, "ms", 1e3 * (time.process_time() - start)))
    return min(times)


class WebRunner:
    """Runs an ONNX file in onnxruntime-web, as in a browser, from inputs by name to outputs by name."""

    def __init__(self, path: Path, graph: GraphSpec) -> None:
        command = ["node", str(Path(__file__).with_name("run_web.mjs")), str(browser.FOLDER / "vendor"), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.graph, self.ms = graph, 0.0

    def __call__(self, values: Values) -> dict[str, torch.Tensor]:
        """Runs the file once."""
        feeds = {}
        for tensor in self.graph.inputs:
            x = torch.as_tensor(values[tensor.name]).contiguous()
            data = base64.b64encode(x.numpy().tobytes()).decode()
            feeds[tensor.name] = {"type": str(x.dtype).partition(".")[2], "dims": list(x.shape), "data": data}
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(feeds) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        self.ms = answer["ms"]
        return {t.name: _tensor(y) for t, y in zip(self.graph.outputs, answer["outputs"], strict=True)}

    def close(self) -> None:
        """Ends node."""
        self.process.kill()
        self.process.communicate()


def _tensor(value: dict[str, Any]) -> torch.Tensor:
    buffer = bytearray(base64.b64decode(value["data"]))
    return torch.frombuffer(buffer, dtype=getattr(torch, value["type"])).reshape(value["dims"])


def recorded() -> dict[str, Any]:
    """Returns the results of the last run."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def main(argv: Sequence[str]) -> int:
    """Exports the weights that match a pattern and saves the results."""
    warnings.simplefilter("ignore")
    from importlib.metadata import version

    torch.set_num_threads(1)
    for name in names():
        if fnmatch(name, argv[0] if argv else "*"):
            for way in WAYS:
                results = recorded()
                if argv[1:] and way not in argv[1:]:
                    continue
                result = attempt(name, way)
                print(name, way, result, flush=True)
                results.setdefault(name, {})[way] = result
                results["versions"] = {p: version(p) for p in ("torch", "onnxruntime")}
                results["versions"]["machine"] = platform.machine()
                ordered = {n: results[n] for n in ("versions", *names()) if n in results}
                RECORD.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
