"""The scripts of the page that runs networks in the browser: alone in node, and with the networks in Chromium."""

import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
import torch

import convrnn_zoo
from tests.helpers.docs.pages import ROOT
from tools import browser

SCRIPTS = ROOT / "docs" / "browser"
DEMO = ROOT / "convrnn_zoo" / "demo"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


def run_node(code, directory):
    """Returns what a script prints as JSON; it imports the scripts of the page from its directory."""
    for script in SCRIPTS.glob("*.js"):
        shutil.copy(script, directory)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "main.js").write_text(code)
    done = subprocess.run(["node", "main.js"], cwd=directory, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_spectrum_is_that_of_the_package(tmp_path):
    wave, rate = convrnn_zoo.data.read_sound(DEMO / "seven.wav", rate=8000)
    settings = {"rate": 8000, "window": 0.032, "hop": 0.02, "bands": 40, "lowest": 60.0, "floor": 1e-5}
    code = f"""
        import {{ LogMel }} from "./logmel.js";
        const {{ steps, rest }} = new LogMel({json.dumps(settings)}).encode(Float32Array.from({wave.tolist()}));
        console.log(JSON.stringify([steps.map((s) => Array.from(s)), rest.length]));
    """
    steps, rest = run_node(code, tmp_path)
    front_end = convrnn_zoo.LogMel(**settings)
    expected, remaining = front_end.encode_piece(wave, rate)
    torch.testing.assert_close(torch.tensor(steps), expected[..., 0], rtol=1e-4, atol=1e-4)
    assert rest == len(remaining)


@needs_node
def test_damaged_arrays_are_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), ">f4"))
    np.save(tmp_path / "b.npy", np.zeros((2, 3), "float32"))
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-1])
    (tmp_path / "c.npy").write_bytes(b"no array at all")
    code = """
        import fs from "node:fs";
        import { readNpy } from "./npy.js";
        const errors = ["a", "b", "c"].map((name) => {
          const bytes = fs.readFileSync(`${name}.npy`);
          try {
            readNpy(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
          } catch (error) {
            return error.message;
          }
        });
        console.log(JSON.stringify(errors));
    """
    messages = run_node(code, tmp_path)
    for message, expected in zip(messages, ("are not read", "ends before", "no .npy file"), strict=True):
        assert expected in message


@needs_node
def test_maps_of_any_size_are_padded_and_cropped(tmp_path):
    code = """
        import { cropForecast, padFrames } from "./radar.js";
        const frames = Float32Array.from({ length: 3 * 3 * 5 }, (_, i) => i);
        frames[30] = NaN;
        const radar = { frames, height: 3, width: 5 };
        const padding = padFrames(radar, 2, 4);
        const cropped = cropForecast(padding.padded, padding, frames.subarray(-15), radar);
        console.log(JSON.stringify([padding.rows, padding.columns, Array.from(padding.padded), Array.from(cropped)]));
    """
    rows, columns, padded, cropped = run_node(code, tmp_path)
    assert (rows, columns) == (4, 8)
    frames = np.arange(45, dtype=float).reshape(3, 3, 5)
    frames[2, 0, 0] = np.nan
    expected = np.pad(frames[1:], ((0, 0), (0, 1), (0, 3)), constant_values=np.nan)
    np.testing.assert_array_equal(np.array(padded, float).reshape(2, 4, 8), expected)
    known = np.where(np.isnan(frames[2]), np.nan, frames[1:])  # unknown in the last frame
    np.testing.assert_array_equal(np.array(cropped, float).reshape(2, 3, 5), known)


@needs_node
@pytest.mark.parametrize("rate", [44100, 48000, 16000])
def test_pieces_of_the_microphone_are_resampled(rate, tmp_path):
    """Tones below half the new rate stay, and higher ones vanish."""
    code = f"""
        import {{ Resampler }} from "./resample.js";
        const results = [440, 3000, 12000].map((frequency) => {{
          const angle = (2 * Math.PI * frequency) / {rate};
          const wave = Float32Array.from({{ length: {rate} }}, (_, i) => Math.sin(angle * i));
          const resampler = new Resampler({rate}, 16000);
          const outputs = [];
          for (let at = 0; at < wave.length; at += 777) outputs.push(...resampler.read(wave.subarray(at, at + 777)));
          return outputs;
        }});
        console.log(JSON.stringify(results));
    """
    for frequency, outputs in zip((440, 3000, 12000), run_node(code, tmp_path), strict=True):
        seconds = np.arange(len(outputs)) / 16000
        expected = np.sin(2 * np.pi * frequency * seconds) if frequency < 8000 or rate == 16000 else 0 * seconds
        assert len(outputs) > 15900
        np.testing.assert_allclose(outputs[200:-50], expected[200:-50], atol=1e-3)


@needs_node
def test_words_are_decided_as_in_the_package(tmp_path):
    model = convrnn_zoo.from_pretrained("audio_convrnn.arabic_commands").eval()
    spotter = convrnn_zoo.Spotter(model, threshold=0.5)
    probabilities = np.random.default_rng(0).dirichlet(np.full(40, 0.02), 300).round(6)
    seconds = [round(1 + 0.1 * i, 6) for i in range(300)]
    expected = [s for t, p in zip(seconds, probabilities, strict=True) for s in spotter.decide(t, torch.tensor(p))]
    expected += spotter.finish()
    settings = {"front_end": model.front_end.to_json(), "threshold": 0.5, "classes": spotter.labels, "states": {}}
    code = f"""
        import {{ Spotter }} from "./spotter.js";
        const spotter = new Spotter({{ settings: {json.dumps(settings)} }});
        const [seconds, probabilities] = {json.dumps([seconds, probabilities.tolist()])};
        const spots = seconds.flatMap((t, i) => spotter.decide(t, probabilities[i]));
        console.log(JSON.stringify([...spots, ...spotter.finish()]));
    """
    spots = run_node(code, tmp_path)
    assert len(spots) > 20
    assert [(s["seconds"], s["label"]) for s in spots] == [(s.seconds, s.label) for s in expected]


# ---- Chromium ----------------------------------------------------------------------------------------------------
class Server(http.server.ThreadingHTTPServer):
    """Serves docs/ and a page in a frame, and waits for the result that the page sends."""

    page: bytes
    frame: bytes
    result: bytes
    has_result: threading.Event


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path not in ("/test.html", "/frame.html"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page if self.path == "/test.html" else self.server.frame)
        return None

    def do_POST(self):
        self.server.result = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.has_result.set()

    def log_message(self, *args):
        pass


def run_chromium(body, directory, width=1000):
    """Returns what a module in the page of docs/ sends, as JSON. The page is in a frame of `width` pixels."""
    page = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
    parts = "".join(re.findall(r'<div id="(?:nowcast|speech|commands)".*?\n</div>', page, re.DOTALL))
    style = '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">'
    html = f"""<!doctype html>{style}<body class="md-typeset">{parts}</body><script type="module">
        async function send(result) {{ await fetch("/result", {{ method: "POST", body: JSON.stringify(result) }}); }}
        try {{ {body} }} catch (error) {{ await send({{ error: error.stack }}); }}
    </script>"""
    handler = functools.partial(Handler, directory=ROOT / "docs")
    with Server(("127.0.0.1", 0), handler) as server:
        server.page, server.has_result = html.encode(), threading.Event()
        server.frame = f'<!doctype html><iframe src="/test.html" width="{width}" height="900"></iframe>'.encode()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory}"]
        command = [CHROMIUM, *options, f"http://127.0.0.1:{server.server_port}/frame.html"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert server.has_result.wait(1500), "Chromium sent no result"
        finally:
            process.kill()
            process.wait()
            server.shutdown()
    result = json.loads(server.result)
    assert "error" not in result, result
    return result


def needs_files(*names):
    """Skips a test without Chromium or without the files that `make browser` writes."""
    exist = all((SCRIPTS / name).exists() for name in ("vendor/ort.wasm.min.mjs", *names))
    return pytest.mark.skipif(not (CHROMIUM and exist), reason="needs Chromium, and the files of `make browser`")


CLICK = """
    await import("/browser/SCRIPT.js");
    document.querySelector('#SECTION [data-part="sample"]').click();
    while (!window.RESULT) {
      const text = document.querySelector("#SECTION output").textContent;
      if (text.startsWith("It failed")) throw new Error(text);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const plain = (v) => (ArrayBuffer.isView(v) ? Array.from(v) : v);
    const overflow = document.documentElement.scrollWidth - window.innerWidth;
    await send({ values: JSON.parse(JSON.stringify(window.RESULT, (_, v) => plain(v))), overflow });
"""


def click(section, result):
    """Returns a script that clicks the button for the sample and sends the result."""
    return CLICK.replace("SCRIPT", section).replace("SECTION", section).replace("RESULT", result)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_files("models/digits.onnx")
def test_the_digit_has_the_probabilities_of_the_package(tmp_path):
    from convrnn_zoo.predict import stream_probabilities

    result = run_chromium(click("speech", "speechProbabilities"), tmp_path, width=360)
    assert result["overflow"] <= 0  # of a phone's screen
    values = result["values"]
    model = convrnn_zoo.from_pretrained("audio_convrnn.fsdd").eval()
    wave, rate = convrnn_zoo.data.read_sound(DEMO / "seven.wav", rate=8000)
    _, expected = stream_probabilities(model, wave, rate)
    torch.testing.assert_close(torch.tensor(values), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_files("models/commands.onnx", "models/commands.wav")
def test_the_commands_are_those_of_the_package(tmp_path):
    result = run_chromium(click("commands", "commandsFound"), tmp_path, width=360)
    assert result["overflow"] <= 0  # of a phone's screen
    model = convrnn_zoo.from_pretrained("audio_convrnn.arabic_commands").eval()
    wave, rate = convrnn_zoo.data.read_sound(SCRIPTS / "models" / "commands.wav", rate=16000)
    spotter = convrnn_zoo.Spotter(model)
    windows = list(spotter.read(wave, rate))
    assert [w["seconds"] for w in result["values"]["windows"]] == pytest.approx([t for t, _ in windows])
    mine = torch.tensor([w["probabilities"] for w in result["values"]["windows"]])
    torch.testing.assert_close(mine, torch.stack([p for _, p in windows]), rtol=0, atol=1e-4)
    spots = [s for window in windows for s in spotter.decide(*window)] + spotter.finish()
    assert len(spots) >= 6
    assert [s["label"] for s in result["values"]["spots"]] == [s.label for s in spots]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_files("models/nowcast.onnx")
def test_the_rain_is_that_of_the_package(tmp_path):
    result = run_chromium(click("nowcast", "nowcastForecast"), tmp_path, width=360)
    assert result["overflow"] <= 0  # of a phone's screen
    frames = np.load(DEMO / "nowcast.npz")["x"][browser.SAMPLE].astype("float32")
    model = convrnn_zoo.from_pretrained("convgru_advection.nowcast").eval()
    thresholds = json.loads((SCRIPTS / "models" / "nowcast.json").read_text())["thresholds"]
    for name, expected in {
        "rates": model.forecast(frames),
        "probabilities": model.probabilities(frames, thresholds),
    }.items():
        expected = np.asarray(expected, float)
        mine = np.array(result["values"][name], float).reshape(expected.shape)
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(expected))
        difference = abs(mine - expected)[~np.isnan(expected)] / (1 + np.nanmax(expected))
        assert (difference > 1e-4).mean() < 1e-4, name  # decisions compare rounded numbers
        assert np.median(difference) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.parametrize("saves_data", [False, True])
def test_the_page_begins_with_the_last_frame_and_forecasts_unless_data_are_saved(saves_data, tmp_path):
    file = io.BytesIO()
    np.save(file, np.load(DEMO / "nowcast.npz")["x"][browser.SAMPLE])
    body = f"""
        Object.defineProperty(navigator, "connection", {{ value: {{ saveData: {json.dumps(saves_data)} }} }});
        const bytes = Uint8Array.from({list(file.getvalue())}), asked = [];
        window.fetch = ((real) => async (url, ...rest) => {{
          if (String(url).endsWith("radar.npy")) return new Response(bytes);
          asked.push(String(url).split("/").pop());
          return real(url, ...rest);
        }})(window.fetch);
        const canvas = document.querySelector("#nowcast canvas"), wasHidden = canvas.hidden;
        await import("/browser/nowcast.js");
        await new Promise((resolve) => setTimeout(resolve, 1500));
        const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const rgb = Array.from({{ length: data.length / 4 }}, (_, i) => Array.from(data.subarray(4 * i, 4 * i + 3)));
        await send({{ wasHidden, hidden: canvas.hidden, rgb, asked }});
    """
    result = run_chromium(body, tmp_path)
    assert (result["wasHidden"], result["hidden"]) == (True, False)
    assert ("nowcast.json" in result["asked"]) is not saves_data
    last = np.load(DEMO / "nowcast.npz")["x"][browser.SAMPLE][-1].astype("float32").ravel()
    is_grey = (np.array(result["rgb"]) == 190).all(1)
    np.testing.assert_array_equal(is_grey, np.isnan(last))


@pytest.mark.slow
@needs_files()
def test_a_browser_without_support_says_so(tmp_path):
    body = """
        WebAssembly.validate = () => false;
        for (const name of ["nowcast", "speech", "commands"]) await import(`/browser/${name}.js`);
        const texts = Array.from(document.querySelectorAll("output"), (e) => e.textContent);
        await send({ texts, enabled: document.querySelectorAll("button:enabled, input:enabled").length });
    """
    result = run_chromium(body, tmp_path)
    assert result["enabled"] == 0
    assert all("Firefox 90" in text for text in result["texts"])
    assert len(result["texts"]) == 3
