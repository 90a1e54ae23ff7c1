"""The benchmark of whole tasks."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import tasks


@pytest.mark.slow
def test_a_task_is_timed_by_its_parts(tmp_path):
    threads = torch.get_num_threads()
    options = ["--task", "predict", "--rounds", "1", "--again", "1", "-o", str(tmp_path / "tasks.json")]
    done = CliRunner(env={"OMP_NUM_THREADS": "1"}).invoke(tasks.main, options)
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    [task] = json.loads((tmp_path / "tasks.json").read_text())["tasks"]
    assert task["name"] == "predict"
    assert all(task[part] > 0 for part in (*tasks.PARTS, "again"))
    assert task["torch and timm"] > task["convrnn_zoo"]
    assert task["again"] < task["torch and timm"]
