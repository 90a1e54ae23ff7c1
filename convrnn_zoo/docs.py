"""The generated parts of the README and the cards: ``python -m convrnn_zoo.docs`` writes them, ``--check`` compares.

A generated part of the README stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; a card's facts stand
between markers of their own, and what is said around them is kept.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .bench.report import table
from .cli._text import markdown
from .cli.demo import HEADER, recordings
from .cli.names import figure
from .hub import card_text
from .models import WEIGHTS, Forecaster, create_model, list_models
from .models._registry import entry_points

ROOT = Path(__file__).parent.parent
MEASURED = Path(__file__).parent / "bench" / "measured.json"
"""The ``bench.json`` of the run that the README shows."""
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def architectures() -> str:
    """A row a family: the pattern of its names and how many there are."""
    rows = []
    for kind, cell in (
        ("convrnn", "simple recurrence, tanh or ReLU"),
        ("convlstm", "LSTM"),
        ("convpeepholelstm", "LSTM with peepholes, convolutional or one weight a channel"),
        ("convgru", "GRU, reset after or before the convolution"),
    ):
        pattern = f"`{kind}{{1,2,3}}d[_bi]_{{1,2,3}}layer`"
        rows.append((pattern, cell, len(list_models(f"{kind}[123]d_*"))))
    return markdown(("names", "cell", "architectures"), rows)


def forecasters() -> str:
    """A row a forecaster: its parameters, counted, and the first line of what it says of itself."""
    rows = []
    for name, entry in entry_points().items():
        model = create_model(name, device="meta")
        if isinstance(model, Forecaster):
            rows.append((f"`{name}`", f"{sum(p.numel() for p in model.parameters()):,}", entry.__doc__.splitlines()[0]))  # type: ignore[union-attr]
    return markdown(("name", "parameters", ""), sorted(rows))


def weights() -> str:
    """A row a set of weights, from the records."""
    rows = [
        (
            f"[`{w.name}`](model_cards/{w.name}.md)",
            w.dataset,
            f"{w.num_params:,}",
            "; ".join(map(figure, w.metrics[:1])),
        )
        for w in WEIGHTS.values()
    ]
    return markdown(("weights", "data", "parameters", "figure"), rows)


def padding() -> str:
    """What reading the padding as data costs, of every record that measured it."""
    rows = [
        (f"`{w.name}`", m.name, f"{m.mean:g} ± {m.std:g} %", m.runs, m.note)
        for w in WEIGHTS.values()
        for m in w.metrics
        if m.mean is not None
    ]
    return markdown(("weights", "", "mean ± standard deviation", "runs", ""), rows)


def demo() -> str:
    """The last recording of each class, as `make demo` shows it, and the accuracy over all."""
    rows, right = recordings()
    last = list({row[2]: row for row in rows}.values())
    return f"{markdown(HEADER, last)}\n\n{right} of {len(rows)} right; the last recording of each speaker is shown."


def speed() -> str:
    """The tables of the benchmark's run that is kept."""
    return table(json.loads(MEASURED.read_text(encoding="utf-8")))


PARTS: dict[str, Callable[[], str]] = {
    "architectures": architectures,
    "forecasters": forecasters,
    "weights": weights,
    "padding": padding,
    "demo": demo,
    "speed": speed,
}


def fill(text: str) -> str:
    """The text with every generated part made anew."""

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{PARTS[match[2]]()}\n{match[3]}"

    return _PART.sub(part, text)


def pages(root: Path = ROOT) -> list[Path]:
    """The files that have generated parts."""
    return [root / "README.md", *(root / "model_cards" / f"{name}.md" for name in WEIGHTS)]


def stale(root: Path = ROOT) -> dict[Path, str]:
    """The files that are not what they should be, with what they should be."""
    found = {}
    for path in pages(root):
        text = path.read_text(encoding="utf-8") if path.exists() else None
        new = card_text(WEIGHTS[path.stem], text) if path.stem in WEIGHTS else fill(text or "")
        if new != text:
            found[path] = new
    return found


def main(argv: Sequence[str]) -> int:
    """Writes what is stale, or with ``--check`` names it and fails."""
    found = stale()
    for path, text in found.items():
        print(path.name)
        if "--check" not in argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int("--check" in argv and bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
