"""The benchmark for GPUs, with a CPU in place of the device."""

import json
from functools import partial

import pytest
import torch
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks.__main__ import bench, bench_device
from benchmarks.accelerator import PRECISIONS, precision_context, time_on_device
from benchmarks.cases import Case
from benchmarks.measure import TASKS

CASE = Case("small", "GRU", 2, 1, 1, 2, (4, 4), 3)
PACKED = CASE._replace(lengths=(1, 2), batch=2)


@pytest.mark.parametrize("case", [CASE, PACKED], ids=["padded", "packed"])
def test_every_task_precision_and_implementation_has_a_time(case):
    rows = list(time_on_device(case, "cpu", 2, modes=("eager",)))
    assert {(row["task"], row["precision"]) for row in rows} == {(t, p) for t in TASKS for p in PRECISIONS}
    assert {row["implementation"] for row in rows} == {"ours", "two convolutions"}
    assert all(row["seconds"] > 0 for row in rows)


def test_bfloat16_is_autocast_and_nothing_stays_set():
    with precision_context("bfloat16", "cpu"):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_a_run_writes_numbers_and_prints_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "time_on_device", partial(time_on_device, modes=("eager",), precisions=("float32",)))
    bench_device("cpu", [CASE], 1, tmp_path / "out")
    result = json.loads((tmp_path / "out" / "cpu.json").read_text())
    assert len(result["rows"]) == 4
    assert "| case | task | float32, eager |" in capsys.readouterr().out


def test_without_a_gpu_the_option_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(bench, ["--device", "cuda"])
    assert done.exit_code == 2
    assert "--device cuda" in done.output
