"""The HTTP service of the page on serving keeps the states of each client, as a client over the network sees it."""

import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from convrnn_zoo import Preprocessing, create_model, export
from tests.helpers.docs.pages import ROOT, blocks
from tests.helpers.exporting.agreement import session

PAGE = ROOT / "docs" / "how-to" / "serve.md"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The service of the page with a small model; returns its address and the model."""
    pytest.importorskip("fastapi", reason="pip install fastapi")
    pytest.importorskip("uvicorn", reason="pip install uvicorn")
    directory = tmp_path_factory.mktemp("service")
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=[4, 4], kernel_size=3, horizon=12).eval()
    model.preprocessing = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
    export(model, directory / "rain.onnx", "step", horizon=12)
    code = next(b.code for b in blocks(PAGE) if "app, clients" in b.code)
    (directory / "service.py").write_text(code, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=directory, env={**os.environ, "PYTHONPATH": ""}) as process:
        try:
            for _ in range(600):
                with socket.socket() as tried:
                    if not tried.connect_ex(("127.0.0.1", port)):
                        break
                assert process.poll() is None, "the service ended"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", model
        finally:
            process.terminate()


def send(address, client, frame, save=np.save):
    buffer = io.BytesIO()
    save(buffer, frame)
    request = urllib.request.Request(f"{address}/clients/{client}/frames", buffer.getvalue(), method="POST")
    with urllib.request.urlopen(request) as response:
        return np.load(io.BytesIO(response.read()))


def status(address, client, frame, save=np.save):
    with pytest.raises(urllib.error.HTTPError) as error:
        send(address, client, frame, save)
    error.value.close()
    return error.value.code


@pytest.mark.slow
def test_each_client_has_its_own_states(service):
    address, model = service
    rain = 5 * torch.rand(2, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    rain[0, :, :2] = torch.nan
    for t in range(4):
        for client in (0, 1):  # in turn
            forecast = send(address, f"radar-{client}", rain[client, t].numpy())
            expected = model.forecast(rain[client, : t + 1], 12, inputs="all").numpy()
            np.testing.assert_allclose(forecast, expected, atol=1e-4)
    urllib.request.urlopen(urllib.request.Request(f"{address}/clients/radar-0", method="DELETE")).close()
    forecast = send(address, "radar-0", rain[0, 0].numpy())
    np.testing.assert_allclose(forecast, model.forecast(rain[0, :1], 12, inputs="all").numpy(), atol=1e-4)


@pytest.mark.slow
def test_wrong_frames_are_errors_of_the_client(service):
    address, _ = service
    assert status(address, "a", np.zeros((15, 24), np.float32)) == 400
    assert status(address, "a", np.zeros((4, 4, 4), np.float32)) == 400
    assert status(address, "a", np.array([{}], dtype=object)) == 400  # a pickle, which is not loaded
    assert status(address, "a", np.zeros((16, 24), np.complex64)) == 400
    assert status(address, "a", np.zeros((16, 24), np.float32), np.savez) == 400
    assert send(address, "ints", np.zeros((16, 24), np.int64)).shape == (12, 16, 24)
    send(address, "b", np.zeros((16, 24), np.float32))
    assert status(address, "b", np.zeros((16, 16), np.float32)) == 409


@pytest.mark.slow
def test_the_configuration_of_triton_describes_the_file(tmp_path):
    """Each input, output and state has the name and the size of the file's, without the batch."""
    text = next(b.code for b in blocks(PAGE) if "sequence_batching" in b.code)
    model = create_model("convgru_forecaster", hidden_channels=[64, 64], horizon=12).eval()
    model.preprocessing = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
    (path,) = export(model, tmp_path / "rain.onnx", "step", horizon=12)
    run = session(path)
    sizes = {"height": 96, "width": 120, "height/4": 24, "width/4": 30}
    tensors = {t.name: [sizes.get(d, d) for d in t.shape[1:]] for t in (*run.get_inputs(), *run.get_outputs())}
    field = r'name: "(\w+)"[^\[]*?dims: \[([\d, ]+)\]'
    stated = {name: [int(d) for d in dims.split(",")] for name, dims in re.findall(r"(?:input|output)_" + field, text)}
    states = re.findall(r'input_name: "(\w+)_in" output_name: "(\w+)_out"', text)
    assert all(a == b for a, b in states)
    assert [a for a, _ in states] == [i.name.removesuffix("_in") for i in run.get_inputs()[1:]]
    stated |= {name: [int(d) for d in dims.split(",")] for name, dims in re.findall(r"put \{ " + field, text)}
    assert stated == {name: dims for name, dims in tensors.items() if not name.endswith("_out")}
    initial = {
        f"{name}_in": [int(d) for d in dims.split(",")] for name, dims in re.findall(r"initial_state \{ " + field, text)
    }
    assert initial == {name: dims for name, dims in tensors.items() if name.endswith("_in")}


def test_the_page_states_the_command_that_writes_the_file():
    assert Path(PAGE).read_text(encoding="utf-8").count("--form step --horizon 12") == 1
