"""TorchGeo's ConvLSTM compared with ours: ``python -m benchmarks.torchgeo`` writes torchgeo.json."""

from pathlib import Path
from typing import Any

from .cases import CASES
from .measure import comparison_command
from .peers import ours, torchgeo

MEASURED = Path(__file__).with_name("torchgeo.json")
NAMES = ("wide", "kernel5", "large-map", "packed")
IMPLEMENTATIONS: dict[str, Any] = {"ours": ours, "torchgeo": torchgeo}

main = comparison_command(
    "Time TorchGeo's ConvLSTM against ours.", [c for c in CASES if c.name in NAMES], IMPLEMENTATIONS, MEASURED
)

if __name__ == "__main__":
    main()
