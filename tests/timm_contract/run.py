"""Runs timm's model tests, unedited, on a sample of every family of the zoo: ``make test-timm``.

The tests come from the source distribution of the installed timm; only their lists of model names are replaced.
``names.py`` takes the names from the registry, so that new families are included automatically, and states a reason for
each test that cannot pass for a family. ``parts.py`` runs timm's checks that need no input on every name, and some of
those that name architectures of timm.

Tests that are left out, with the reason:

* ``test_model_inference``: for timm's own test models.
* ``test_model_forward_torchscript``, ``test_model_forward_fx``, ``test_model_backward_fx``: the loop over time
  has as many iterations as the input has steps, and the input may be a PackedSequence; neither is expressible in
  TorchScript or a symbolic trace.
* the other tests that name architectures of timm.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import timm

HERE = Path(__file__).parent
TESTS = [
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_model_default_cfgs_non_std",
    "test_model_load_pretrained",
    "test_model_features_pretrained",
    "test_model_forward_features",
    "test_model_forward_intermediates",
    "test_model_forward_intermediates_features",
    "test_prune_intermediate_layers_contract",
]


def fetch(into: Path) -> Path:
    """Downloads test_models.py of the installed version of timm and returns its path."""
    root = into / f"timm-{timm.__version__}"
    if not root.is_dir():
        into.mkdir(parents=True, exist_ok=True)
        command = ["pip", "download", "--quiet", "--no-deps", "--no-binary", "timm", f"timm=={timm.__version__}"]
        subprocess.run([sys.executable, "-m", *command, "--dest", str(into)], check=True)
        with tarfile.open(next(into.glob("timm-*.tar.gz"))) as archive:
            archive.extractall(into, filter="data")
    return root / "tests" / "test_models.py"


def main() -> int:
    """Runs the selected tests and returns pytest's exit code."""
    file = fetch(HERE.parent.parent / "build" / "timm")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "names",
        "--rootdir",
        str(file.parent),
        "-c",
        "/dev/null",
        *(f"{file}::{t}" for t in TESTS),
        str(HERE / "parts.py"),
    ]
    path = os.pathsep.join([str(HERE), str(file.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run([*command, *sys.argv[1:]], env={**os.environ, "PYTHONPATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
