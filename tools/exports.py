"""Exports weights: ``python -m tools.exports [PATTERN]`` of one set of weights for each architecture.

The files are compared with the model and timed; in the browser this needs node, and onnxruntime-web, which
``python -m tools.browser`` fetches. The results are in ``weight_exports.json``.
"""

import base64
import fnmatch
import json
import platform
import subprocess
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from convrnn_zoo import WEIGHTS, ExportError, export, from_pretrained
from convrnn_zoo.exporting.backend import CHECKED_SIZES, compare, dynamic_sizes
from convrnn_zoo.exporting.export import LOADERS, SUFFIX, copy_model
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.exporting.spec import GraphSpec, Sizes, Values

from . import browser, record, recorded

MEASURED = "tools/weight_exports.json"
FILES = {
    "onnx sequence": ("sequence", "onnx"),
    "onnx step": ("step", "onnx"),
    "torch sequence": ("sequence", "torch"),
    "browser": ("", "onnx"),
}
"""Columns of the table with form and format; in the browser, the step form if there is one."""


def files(model: Any, form: str) -> str:
    """Names the exported files of a model in a form, or states why the package rejects it."""
    try:
        spec = make_spec(model, form)
    except ExportError as e:
        return f"no: {str(e).partition(';')[0]}"
    frames = f" (frames {spec.metadata['frames']})" if "frames" in spec.metadata else ""
    return ", ".join(f"….{part}.onnx" if part else "….onnx" for part in spec.graphs) + frames


def weights() -> list[str]:
    """Returns one set of weights for each architecture: the recorded one, or the first."""
    names = [name for name in (*reversed(WEIGHTS), *recorded(MEASURED)) if name in WEIGHTS]
    return sorted({name.partition(".")[0]: name for name in names}.values())


def attempt(name: str, way: str) -> dict[str, Any]:
    """Returns the size of the files, the time of a call and the difference from the model, or why there are none."""
    model: Any = from_pretrained(name)
    form, format = FILES[way]
    if way == "browser":
        form = "sequence" if files(model, "step").startswith("no") else "step"
    with tempfile.TemporaryDirectory() as directory:
        try:
            paths = export(model, Path(directory, "a" + SUFFIX[format]), form, format)  # type: ignore[arg-type]
        except ExportError as e:
            return {"error": str(e)}
        spec = make_spec(copy_model(model, format, None), form)
        load = WebRunner if way == "browser" else LOADERS[format]
        runners = {key: load(f, graph) for f, (key, graph) in zip(paths, spec.graphs.items(), strict=True)}
        batch = {"batch": 2 if format == "torch" else 1}  # some programs of torch take no single sequence
        sizes = dynamic_sizes(spec, CHECKED_SIZES[0]) | batch
        [frame] = [t.shape(sizes) for t in next(iter(spec.graphs.values())).inputs if t.name == "input"]
        return {
            "bytes": sum(path.stat().st_size for path in paths),
            "ms": round(sum(milliseconds(runners[key], graph, sizes) for key, graph in spec.graphs.items()), 2),
            "input": frame,
            "form": form,
            "difference": float(f"{compare(spec, runners, single=format == 'onnx'):.1e}"),
        }


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
        self.process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.graph, self.ms = graph, 0.0

    def __call__(self, values: Values) -> dict[str, torch.Tensor]:
        """Runs the file once."""
        feeds = {}
        for tensor in self.graph.inputs:
            x = torch.as_tensor(values[tensor.name]).contiguous()
            data = base64.b64encode(x.numpy().tobytes()).decode()
            feeds[tensor.name] = {"type": str(x.dtype).partition(".")[2], "dims": list(x.shape), "data": data}
        self.process.stdin.write(json.dumps(feeds) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.ms = answer["ms"]
        outputs = {}
        for tensor, y in zip(self.graph.outputs, answer["outputs"], strict=True):
            flat = torch.frombuffer(bytearray(base64.b64decode(y["data"])), dtype=getattr(torch, y["type"]))
            outputs[tensor.name] = flat.reshape(y["dims"])
        return outputs


@click.command()
@click.argument("pattern", default="*")
def main(pattern: str) -> None:
    """Export the weights that match PATTERN, and write the results."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    versions = {p: version(p) for p in ("torch", "onnxruntime")} | {"machine": platform.machine()}
    for name in fnmatch.filter(weights(), pattern):
        result = {way: attempt(name, way) for way in FILES}
        click.echo(f"{name} {result}")
        results = {**recorded(MEASURED), name: result}
        record(MEASURED, {"versions": versions} | {n: results[n] for n in weights() if n in results})


if __name__ == "__main__":
    main()
