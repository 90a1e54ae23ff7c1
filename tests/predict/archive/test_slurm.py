"""The example of the page on archives starts workers by SLURM."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import convrnn_zoo
from tests.helpers.docs.pages import ROOT, blocks

CODE = next(b.code for b in blocks(ROOT / "docs" / "how-to" / "archive.md") if "SLURMCluster" in b.code)


PRINT = """
import ast, sys
from dask_jobqueue import SLURMCluster
calls = [n for n in ast.walk(ast.parse(sys.stdin.read())) if isinstance(n, ast.Call)]
call = next(n for n in calls if getattr(n.func, "id", "") == "SLURMCluster")
options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
with SLURMCluster(**options, scheduler_options={"dashboard_address": "127.0.0.1:0"}) as cluster:
    print(cluster.job_script())
"""


@pytest.mark.slow
def test_the_job_script_states_what_the_page_requests(tmp_path):
    pytest.importorskip("dask_jobqueue", reason="pip install dask-jobqueue")
    command = [sys.executable, "-c", PRINT]  # a process of its own, whose sockets end with it
    text = subprocess.run(command, input=CODE, capture_output=True, text=True, check=True, timeout=300).stdout.strip()
    directives = {line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {"-p standard", "--cpus-per-task=1", "--mem=4G", "-t 02:00:00"} <= directives
    first, second, third, worker = text.splitlines()[-4:]
    assert (first, second) == ("source .venv/bin/activate", "export OMP_NUM_THREADS=1")
    assert third.startswith("export MALLOC_TRIM_THRESHOLD_=")
    assert worker.startswith(sys.executable)
    assert worker.endswith("--lifetime 110m --lifetime-stagger 5m")
    (tmp_path / "job.sh").write_text(text)
    subprocess.run(["bash", "-n", tmp_path / "job.sh"], check=True)


@pytest.mark.slow
def test_the_example_forecasts_an_archive_on_a_cluster(tmp_path):
    import xarray as xr

    if not shutil.which("sinfo") or subprocess.run(["sinfo"], capture_output=True, timeout=60).returncode:
        pytest.skip("needs a SLURM that answers, whose partition is called standard")
    pytest.importorskip("dask_jobqueue", reason="pip install dask-jobqueue")
    times = np.datetime64("2020-06-01", "ns") + 5 * np.arange(10) * np.timedelta64(1, "m")
    rain = np.random.default_rng(0).gamma(0.3, 2.0, (10, 32, 32)).astype("float32")
    data = xr.DataArray(rain, {"time": times}, ("time", "y", "x"), "rain", {"units": "mm/h"})
    data.to_dataset().to_zarr(tmp_path / "archive.zarr", consolidated=False)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"export PYTHONPATH={ROOT}\n")
    (tmp_path / "program.py").write_text(CODE)
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=500)
    expected = convrnn_zoo.forecast_archive(
        "convgru_advection.nowcast", tmp_path / "archive.zarr", tmp_path / "here.zarr", every="30min"
    )
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "forecasts.zarr", consolidated=False), expected)


@pytest.mark.slow
@pytest.mark.needs("linux")
def test_workers_keep_the_memory_of_large_tensors():
    code = """
if __name__ == "__main__":
    import os, distributed
    from convrnn_zoo.predict.archive.run import start_workers
    with start_workers(1) as client:
        environments = client.run(lambda: dict(os.environ)).values()
        print([environment.get("MALLOC_TRIM_THRESHOLD_") for environment in environments])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC")}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
    assert output.strip() == "[None]"
