"""Tries exports: ``python -m tools.exports names [PATTERN]`` of every architecture, ``… weights [PATTERN]`` of weights.

The results are in ``exports.json`` and ``weight_exports.json``. Of names with the same classes of network, encoder and
layers, one is tried, with few channels. Of each architecture, one set of weights is exported, compared with the model
and timed; in the browser this needs node, and onnxruntime-web, which ``python -m tools.browser`` fetches.
"""

import base64
import fnmatch
import json
import platform
import subprocess
import tempfile
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import torch

from convrnn_zoo import WEIGHTS, ExportError, create_model, export, from_pretrained, list_models
from convrnn_zoo.exporting.backend import CHECKED_SIZES, compare, dynamic_sizes
from convrnn_zoo.exporting.export import LOADERS, SUFFIX, copy_model, trace_all, write
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.exporting.spec import GraphSpec, Sizes, Values
from convrnn_zoo.layers._base import Equations
from convrnn_zoo.pretrained.registry import SMALL

from . import browser, record, recorded

NAMES, OF_WEIGHTS = "tools/exports.json", "tools/weight_exports.json"
WAYS = {"sequence": ("sequence", "onnx"), "step": ("step", "onnx"), "torch": ("sequence", "torch")}
"""Columns of the table of names with their form and format."""
FILES = {f"{name} {form}": (form, name) for form, name in WAYS.values()} | {"browser": ("", "onnx")}
"""Columns of the table of weights; in the browser, the step form if there is one."""


# ---- names ---------------------------------------------------------------------------------------------------------
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
    return {first: [first, *others] for first, *others in kinds.values()}


CHANNELS = {"audio_convrnn": 8, "sg_convlstm": 5}  # torch.export supports no map of one pixel; the mask is a channel


def narrow(name: str, **kwargs: Any) -> Any:
    """Builds an untrained architecture with few channels."""
    return create_model(name, **{"in_chans": CHANNELS.get(name, 1), **SMALL[name], **kwargs}).eval()


def attempt(name: str) -> dict[str, str]:
    """Returns, for each of :data:`WAYS`, the exported files or the reason why the export is not supported."""
    results = {way: claimed(name, way) for way in WAYS}
    if all(results.values()):
        return results
    model = copy_model(narrow(name), "onnx", None)
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


def claimed(name: str, way: str) -> str:
    """Returns the reason why the package rejects one of :data:`WAYS` before the export, or an empty string."""
    is_large = create_model(name, device="meta").has_frame_encoder  # the width of an encoder is fixed
    return _reason(narrow(name, **({"device": "meta"} if is_large else {})), WAYS[way][0])


def _reason(model: Any, form: str) -> str:
    try:
        make_spec(model, form)
    except ExportError as e:
        return f"error: {e}"
    return ""


# ---- weights -------------------------------------------------------------------------------------------------------
def weights() -> list[str]:
    """Returns one set of weights for each architecture: the recorded one, or the first."""
    names = [name for name in (*reversed(WEIGHTS), *recorded(OF_WEIGHTS)) if name in WEIGHTS]
    return sorted({name.partition(".")[0]: name for name in names}.values())


def attempt_file(name: str, way: str) -> dict[str, Any]:
    """Returns the size of the files, the time of a call and the difference from the model, or why there are none."""
    model: Any = from_pretrained(name)
    form, format = FILES[way]
    if way == "browser":
        form = "sequence" if _reason(model, "step") else "step"
    with tempfile.TemporaryDirectory() as directory:
        try:
            files = export(model, Path(directory, "a" + SUFFIX[format]), form, format)  # type: ignore[arg-type]
        except ExportError as e:
            return {"error": str(e)}
        spec = make_spec(copy_model(model, format, None), form)
        load = WebRunner if way == "browser" else LOADERS[format]
        runners = {key: load(f, graph) for f, (key, graph) in zip(files, spec.graphs.items(), strict=True)}
        batch = {"batch": 2 if format == "torch" else 1}  # some programs of torch take no single sequence
        sizes = dynamic_sizes(spec, CHECKED_SIZES[0]) | batch
        [frame] = [t.shape(sizes) for t in next(iter(spec.graphs.values())).inputs if t.name == "input"]
        return {
            "bytes": sum(f.stat().st_size for f in files),
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
@click.argument("what", type=click.Choice(["names", "weights"]))
@click.argument("pattern", default="*")
def main(what: str, pattern: str) -> None:
    """Try the export of the names or the weights that match PATTERN, and write the results."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    known, file, head = list(names()) if what == "names" else weights(), NAMES, {}
    if what == "weights":
        versions = {p: version(p) for p in ("torch", "onnxruntime")} | {"machine": platform.machine()}
        file, head = OF_WEIGHTS, {"versions": versions}
    for name in fnmatch.filter(known, pattern):
        result = attempt(name) if what == "names" else {way: attempt_file(name, way) for way in FILES}
        print(name, result, flush=True)
        results = {**recorded(file), name: result}
        record(file, head | {n: results[n] for n in known if n in results})


if __name__ == "__main__":
    main()
