"""Files in float32 and in int8: size, time of a call and score; writes ``int8.json``.

``python -m benchmarks.int8 --digits DIR --commands DIR --mnist DIR --rain DIR`` needs the recordings of FSDD, the
repository of the Arabic Speech Commands, the idx files of MNIST and the radar composites of pysteps. Files are in the
step form, that of the nowcast in the sequence form. They are calibrated on training data and scored on test data.
"""

import argparse
import csv
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from convrnn_zoo import export, from_pretrained
from convrnn_zoo.data.datasets.labelled_sequences import encode_sound
from convrnn_zoo.data.datasets.moving_mnist import MovingMNIST
from convrnn_zoo.data.datasets.rain import RainComposites
from convrnn_zoo.data.datasets.speech import FSDD
from convrnn_zoo.exporting import quantize
from convrnn_zoo.exporting.forms import streaming_form
from convrnn_zoo.exporting.quantize import run_sequence

RECORD = Path(__file__).parent / "int8.json"
Frames = Any  # (T, N, C, *S)
Score = Callable[[list[Any]], float]  # of the last outputs of all test sequences


def load(path: Path) -> Any:
    """Loads a file into onnxruntime, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def last_output(session: Any, frames: Frames) -> Any:
    """Returns the output after the last frame."""
    *_, (_, outputs) = run_sequence(session, frames)
    return outputs["output"]


def compare(name: str, horizon: int | None, calibration: Sequence[Frames], test: Sequence[Frames], score: Score,
            unit: str) -> dict[str, Any]:  # fmt: skip
    """Exports weights, quantizes the file and returns size, time of a call and score of both."""
    model = from_pretrained(name)
    with tempfile.TemporaryDirectory() as directory:
        form, horizon = streaming_form(model, None, horizon)
        (exact,) = export(model, Path(directory, "float32.onnx"), form, horizon=horizon)  # type: ignore[arg-type]
        files = {"float32": exact, "int8": quantize(exact, Path(directory, "int8.onnx"), calibration)}
        result: dict[str, Any] = {"score": unit, "sequences": len(test)}
        sessions = {kind: load(file) for kind, file in files.items()}
        times: dict[str, list[float]] = {kind: [] for kind in files}
        calls = len(test[0]) if form == "step" else 1
        for _ in range(5):  # interleaved, because other programs slow a machine down for a while
            for kind, session in sessions.items():
                start = time.process_time()
                last_output(session, test[0])
                times[kind].append((time.process_time() - start) / calls)
        for kind, session in sessions.items():
            value = score([last_output(session, frames) for frames in test])
            result[kind] = {
                "bytes": files[kind].stat().st_size, "ms": round(1e3 * min(times[kind]), 3), "value": value
            }  # fmt: skip
            print(name, kind, result[kind], flush=True)
    return result


def accuracy(labels: Any) -> Score:
    """Returns a function that computes the accuracy of outputs."""
    return lambda outputs: round(
        float(np.mean([o[0].argmax() == label for o, label in zip(outputs, labels, strict=True)])), 4
    )


def spoken_steps(model: Any, features: Any) -> Frames:
    """Returns the steps ``(T, 1, bands, 1)`` of the file of a classifier of sound."""
    return model.normalize(features[None]).transpose(0, 1).contiguous().numpy().astype(np.float32)


def digits(path: Path) -> dict[str, Any]:
    """Spoken digits: accuracy on the 300 test recordings, calibrated on 40 training recordings."""
    name = "audio_convrnn.fsdd"
    model: Any = from_pretrained(name)
    folder = path / "recordings" if (path / "recordings").is_dir() else path
    train = [f for f in sorted(folder.glob("*.wav")) if int(f.stem.split("_")[-1]) >= 5]
    test = FSDD().load(path, "test", model.front_end)
    calibration = [spoken_steps(model, encode_sound(f, model.front_end)) for f in train[:: len(train) // 40]]
    steps = [spoken_steps(model, x) for x in test.sequences]
    return compare(name, None, calibration, steps, accuracy(test.labels.numpy()), "accuracy")


def commands(path: Path) -> dict[str, Any]:
    """Spoken commands: accuracy on the 2,400 test recordings, calibrated on 40 training recordings."""
    name = "audio_convrnn.arabic_commands"
    model: Any = from_pretrained(name)

    def read(split: str, every: int) -> tuple[list[Frames], list[int]]:
        with (path / f"{split}.csv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))[::every]
        steps = [spoken_steps(model, encode_sound(path / row["file"], model.front_end)) for row in rows]
        return steps, [model.pretrained_cfg["label_names"].index(row["class"]) for row in rows]

    steps, labels = read("test", 1)
    return compare(name, None, read("train", 180)[0], steps, accuracy(labels), "accuracy")


def forecasts(name: str, dataset: Any, path: Path, score: str, count: int, metric: Callable[..., float]) -> Any:
    """Forecasters: score of the forecast of `count` test sequences, calibrated on 8 training sequences."""
    model: Any = from_pretrained(name)
    inputs, horizon = model.preprocessing.inputs, model.preprocessing.horizon

    def sequences(split: str, number: int) -> list[Any]:
        data = dataset.load(path, split, inputs, horizon)
        every = max(1, len(data) // number)
        return [data[i].frames.numpy()[:, None] for i in range(0, every * number, every)]

    train, test = sequences("train", 8), sequences("test", count)
    truth = [frames[inputs:, 0] for frames in test]
    return compare(
        name, horizon, [f[:inputs] for f in train], [f[:inputs] for f in test],
        lambda outputs: round(float(np.mean([metric(o[0], t) for o, t in zip(outputs, truth, strict=True)])), 4), score,
    )  # fmt: skip


def squared_error(forecast: Any, truth: Any) -> float:
    """Returns the squared error summed over a frame."""
    return float(((forecast - truth) ** 2).sum((-3, -2, -1)).mean())


def critical_success(forecast: Any, truth: Any, threshold: float = 1.0) -> float:
    """Returns the CSI of known pixels at a threshold in mm/h."""
    known = np.isfinite(truth) & np.isfinite(forecast)
    wet, observed = (forecast >= threshold) & known, (truth >= threshold) & known
    return float((wet & observed).sum() / max(1, (wet | observed).sum()))


def absolute_error(forecast: Any, truth: Any) -> float:
    """Returns the mean absolute error of known pixels."""
    return float(np.nanmean(np.abs(forecast - truth)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tasks whose data are passed and saves the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    for task in ("digits", "commands", "mnist", "rain"):
        parser.add_argument(f"--{task}", type=Path)
    parser.add_argument("--count", type=int, default=32, help="test sequences of a forecaster")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    tasks: Iterable[tuple[str, Path | None, Callable[[Path], Any]]] = (
        ("spoken digits", options.digits, digits),
        ("spoken commands", options.commands, commands),
        ("Moving MNIST", options.mnist, lambda path: forecasts(
            "convgru_forecaster.moving_mnist", MovingMNIST(), path, "squared error of a frame", options.count,
            squared_error)),
        ("rain", options.rain, lambda path: forecasts(
            "convgru_forecaster.rain", RainComposites(), path, "mean absolute error in mm/h", options.count,
            absolute_error)),
        ("nowcast", options.rain, lambda path: forecasts(
            "convgru_advection.nowcast", RainComposites(), path, "CSI at 1 mm/h", options.count, critical_success)),
    )  # fmt: skip
    for task, path, run in tasks:
        if path is not None:
            results = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
            RECORD.write_text(json.dumps({**results, task: run(path)}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
