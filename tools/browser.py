"""Collects the files of the page that forecasts in the browser: ``python -m tools.browser`` writes to docs/browser/.

onnxruntime-web is fetched by npm in a pinned version, whose checksum is compared. The networks are exported from the
shipped weights. Git tracks none of it. Files that exist are kept, since the export of the nowcast takes minutes.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import convrnn_zoo
from convrnn_zoo._extras import need

from . import ROOT

FOLDER = ROOT / "docs" / "browser"
DEMO = ROOT / "convrnn_zoo" / "demo"
PACKAGE = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Checksum of the package, as in the lock file of npm."""
SCRIPTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MODELS: dict[str, tuple[str, Any]] = {
    "nowcast": ("convgru_advection.nowcast", "sequence"),
    "digits": ("audio_convrnn.fsdd", "step"),
    "commands": ("audio_convrnn.arabic_commands", "step"),
}
"""Weights and form of each exported file."""
SETTINGS = ("front_end", "mean", "std", "classes", "thresholds", "state")
"""Metadata of an exported file that the page reads."""
SAMPLE = slice(0, 4)
"""Frames of the sample that the page forecasts from."""


def fetch_runtime(folder: Path) -> None:
    """Fetches onnxruntime-web and writes its scripts and its licence to a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(temporary).glob("*.tgz")
        checksum = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if checksum != INTEGRITY:
            raise ValueError(f"{PACKAGE} has the checksum {checksum}, and {INTEGRITY} is expected; do not use it")
        shutil.unpack_archive(archive, temporary, filter="data")
        folder.mkdir(parents=True, exist_ok=True)
        for name in SCRIPTS:
            shutil.copy(Path(temporary, "package", "dist", name), folder)
    (folder / "LICENSE").write_text("onnxruntime-web, copyright Microsoft Corporation, MIT licence\n", encoding="utf-8")


def describe(file: Path, model: Any) -> dict[str, Any]:
    """Returns the settings of an exported file and its model that the page reads."""
    session = need("onnxruntime", "onnx").InferenceSession(file)
    metadata = {k: v for k, v in session.get_modelmeta().custom_metadata_map.items() if k in SETTINGS}
    settings = {key: json.loads(value) for key, value in metadata.items()}
    if states := settings.pop("state", None):
        settings["states"] = {f"{s['name']}_in": {"shape": [1, *s["shape"][1:]], "type": s["dtype"]} for s in states}
    if hasattr(model, "horizon"):
        values = model.preprocessing
        settings |= {"inputs": values.inputs, "step": values.step, "reduction": model.reduction}
    threshold = model.metadata.threshold
    return settings if threshold is None else settings | {"threshold": threshold}


def export_models(folder: Path) -> None:
    """Exports the networks that are missing in a folder, and copies their samples."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (weights, form) in MODELS.items():
        file, model = folder / f"{name}.onnx", convrnn_zoo.from_pretrained(weights)
        if not file.exists():
            convrnn_zoo.export(model, file, form, progress=True)
        (folder / f"{name}.json").write_text(json.dumps(describe(file, model)), encoding="utf-8")
    np.save(folder / "radar.npy", np.load(DEMO / "nowcast.npz")["x"][SAMPLE])
    shutil.copy(DEMO / "seven.wav", folder)
    soundfile = need("soundfile", "sound")
    commands, rate = soundfile.read(DEMO / "commands.ogg")
    soundfile.write(folder / "commands.wav", commands, rate, subtype="PCM_16")  # Safari does not decode Vorbis


if __name__ == "__main__":
    if not all((FOLDER / "vendor" / name).exists() for name in SCRIPTS):
        fetch_runtime(FOLDER / "vendor")
    export_models(FOLDER / "models")
