"""The command ``python -m tools.docs``."""

import sys

from .. import ROOT
from . import stale

if __name__ == "__main__":
    updates = stale()
    for path, text in updates.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    sys.exit("--check" in sys.argv and bool(updates))
