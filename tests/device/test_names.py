"""Only the places listed here name a device; everything else works where its input or its weights are."""

import re
from pathlib import Path

import convrnn_zoo

NAMES = re.compile(r"""(?<!w)["'](cpu|cuda|mps|xpu|hpu)(:\d)?["'](?! *[\]:])|torch\.(cuda|mps|xpu)\b|\.cuda\(""")
ALLOWED = {
    "cli/_options.py": "the command chooses a device",
    "exporting": "exported files are checked on the host",
    "interop": "checkpoints are read to the host",
    "layers/_conv.py": "oneDNN is of CPUs",
    "layers/_fused.py": "which way to convolve is fast depends on the device",
    "layers/_in_place.py": "which memory format is fast depends on the device",
    "layers/_kernels.py": "only some devices have torch's kernels of a step",
    "layers/_run.py": "which form of a scan is fast depends on the device",
    "models/base/forecaster.py": "noise is sampled on the host, so that a seed is the same on any device",
    "models/base/lengths.py": "lengths are on the host",
    "models/nowcast/decisions.py": "how values are selected depends on the device",
    "models/nowcast/ensemble.py": "noise is sampled on the host",
    "models/nowcast/motion.py": "how maps are sampled depends on the device",
    "train/launch.py": "seeds are those of the host",
    "train/loop.py": "checkpoints are of any device",
}


def test_no_other_module_names_a_device() -> None:
    package = Path(convrnn_zoo.__file__).parent
    naming = {
        file.relative_to(package).as_posix(): line.strip()
        for file in package.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if NAMES.search(line)
    }
    assert not {name: line for name, line in naming.items() if not name.startswith(tuple(ALLOWED))}
    unused = {start for start in ALLOWED if not any(name.startswith(start) for name in naming)}
    assert not unused


def test_tests_of_devices_name_none() -> None:
    folder = Path(__file__).parent
    for file in folder.glob("test_*.py"):
        if file != Path(__file__):
            assert not re.search(r"""device=["']|torch\.device\(["'](?!cpu)""", file.read_text(encoding="utf-8")), file
