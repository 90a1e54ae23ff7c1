"""The report of a device, with a CPU in place of a GPU."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import device
from benchmarks.cases import Case
from benchmarks.measure import TASKS
from tools import ROOT
from tools.docs import timings

CASE = Case("small", "LSTM", 2, 1, 1, 2, (4, 4), 3)
PACKED = CASE._replace(lengths=(1, 2), batch=2)


@pytest.mark.parametrize("case", [CASE, PACKED], ids=["padded", "packed"])
def test_every_task_precision_and_implementation_has_a_time(case):
    rows = list(device.time_on_device(case, "cpu", 2, modes=("eager",)))
    assert {(row["task"], row["precision"]) for row in rows} == {(t, p) for t in TASKS for p in device.PRECISIONS}
    implementations = {name for name, build in device.IMPLEMENTATIONS.items() if build(case) is not None}
    assert {row["implementation"] for row in rows} == implementations
    assert all(row["seconds"] > 0 for row in rows)


def test_bfloat16_is_autocast_and_nothing_stays_set():
    with device.precision_context("bfloat16", "cpu"):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_a_report_is_written_and_shown_and_failures_are_part_of_it(tmp_path, monkeypatch):
    def fail(case):
        raise NotImplementedError("not on this device")

    monkeypatch.setattr(device, "CASES", [CASE._replace(name="tiny")])
    monkeypatch.setitem(device.IMPLEMENTATIONS, "dense LSTM", lambda case: torch.nn.Identity())
    monkeypatch.setattr(device.tasks, "nowcast", lambda edge, device: fail(None))
    monkeypatch.setattr(device.tasks, "training_step", lambda *args: lambda: None)
    done = CliRunner().invoke(device.main, ["--quick", "--no-tests", "-o", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "a.json").read_text())
    assert "not on this device" in report["tasks"][0]["error"]
    assert {"name", "torch", "python", "load"} <= report["machine"].keys()
    monkeypatch.setattr(timings, "DEVICES", tmp_path)
    page = timings.devices("docs/project/devices.md")
    assert report["machine"]["name"] in page
    assert CASE.title in page
    report["machine"] |= {"device": "cuda", "name": "A card"}
    eager = next(r for r in report["layers"] if (r["implementation"], r["precision"]) == ("ours", "float32"))
    failed = {**eager, "title": "3-d"}
    del failed["seconds"]
    eager |= {"seconds": 1.0, "peak_bytes": 2**21}
    loop = {**eager, "implementation": "one convolution", "seconds": 1.5, "peak_bytes": 2**22}
    graph, tf32 = {**eager, "mode": "graph", "seconds": 0.5}, {**eager, "precision": "tf32", "seconds": 0.75}
    report["layers"] = [eager, loop, graph, tf32, failed | {"error": "not on this card"}]
    (tmp_path / "b.json").write_text(json.dumps(report))
    card = timings.devices("docs/project/devices.md").partition("<summary>A card")[2]
    assert "| 1e+03 | 2 | 1.50 | 0.50 | 0.75 | 2.00 |" in card
    assert "| not on this card | – | – |" in card


def test_a_device_that_is_missing_is_an_error(tmp_path):
    done = CliRunner().invoke(device.main, ["--device", "vulkan", "-o", str(tmp_path / "a.json")])
    assert done.exit_code == 2
    assert "--device vulkan" in done.output


def test_pages_state_that_no_gpu_was_measured_as_long_as_there_is_no_report():
    has_report = any(report["machine"]["device"] != "cpu" for report in timings.reports())
    for page, words in {
        "README.md": "GPUs were not measured yet",
        "docs/project/limits.md": "There is no report of one yet",
        "docs/project/speed.md": "No report of a GPU has come in yet",
    }.items():
        assert (words in (ROOT / page).read_text(encoding="utf-8")) is not has_report, page
