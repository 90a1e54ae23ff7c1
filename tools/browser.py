"""Collects the files of the page that forecasts in the browser: ``python -m tools.browser`` writes to docs/browser/.

onnxruntime-web is fetched by npm in a pinned version, whose checksum is compared. The networks are exported from the
shipped weights. Git tracks none of it. Files that exist are kept, since the export of the nowcast takes minutes.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from convrnn_zoo._extras import need

ROOT = Path(__file__).parent.parent
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
SAMPLE = slice(0, 4)
"""Frames of the sample that the page forecasts from."""


def fetch_runtime(folder: Path) -> None:
    """Fetches onnxruntime-web and writes its scripts and its licence to a folder.

    Raises:
        ValueError: the package has another checksum.
        OSError, subprocess.CalledProcessError: npm is not installed, or cannot fetch the package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", temporary]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(temporary).glob("*.tgz")
        checksum = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if checksum != INTEGRITY:
            raise ValueError(f"{PACKAGE} has the checksum {checksum}, and {INTEGRITY} is expected; do not use it")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as package:
            for name in SCRIPTS:
                member: Any = package.extractfile(f"package/dist/{name}")
                (folder / name).write_bytes(member.read())
    (folder / "LICENSE").write_text("onnxruntime-web, copyright Microsoft Corporation, MIT licence\n", encoding="utf-8")


def describe(file: Path) -> dict[str, Any]:
    """Returns the settings of an exported file that the page reads."""
    session = need("onnxruntime", "onnx").InferenceSession(file)
    metadata = session.get_modelmeta().custom_metadata_map
    settings = {key: json.loads(metadata[key]) for key in ("front_end", "mean", "std", "classes") if key in metadata}
    if "thresholds" in metadata:
        settings["thresholds"] = json.loads(metadata["thresholds"])
    if "state" in metadata:
        settings["states"] = {
            f"{state['name']}_in": {"shape": [1, *state["shape"][1:]], "type": state["dtype"]}
            for state in json.loads(metadata["state"])
        }
    return settings


def export_models(folder: Path) -> None:
    """Exports the networks that are missing in a folder, and copies their samples."""
    import convrnn_zoo

    folder.mkdir(parents=True, exist_ok=True)
    for name, (weights, form) in MODELS.items():
        file = folder / f"{name}.onnx"
        model: Any = convrnn_zoo.from_pretrained(weights)
        if not file.exists():
            convrnn_zoo.export(model, file, form, progress=True)
        settings = describe(file)
        if hasattr(model, "horizon"):
            values: Any = model.preprocessing
            settings |= {"inputs": values.inputs, "step": values.step, "reduction": model.reduction}
        metadata: Any = model.metadata
        if metadata.threshold is not None:
            settings["threshold"] = metadata.threshold
        (folder / f"{name}.json").write_text(json.dumps(settings), encoding="utf-8")
    np.save(folder / "radar.npy", np.load(DEMO / "nowcast.npz")["x"][SAMPLE])
    shutil.copy(DEMO / "seven.wav", folder)
    soundfile = need("soundfile", "sound")
    commands, rate = soundfile.read(DEMO / "commands.ogg")
    soundfile.write(folder / "commands.wav", commands, rate, subtype="PCM_16")  # Safari does not decode Vorbis


def main() -> None:
    """Writes the files of the page that are missing."""
    if not all((FOLDER / "vendor" / name).exists() for name in SCRIPTS):
        fetch_runtime(FOLDER / "vendor")
    export_models(FOLDER / "models")


if __name__ == "__main__":
    main()
