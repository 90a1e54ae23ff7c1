"""Recipes: everything that made a set of weights, in one TOML file."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "recipes"
RECIPES: dict[str, Path] = {p.stem: p for p in sorted(DIRECTORY.glob("*.toml"))}


@dataclass(frozen=True)
class Recipe:
    """How a classifier of sequences was trained.

    `weights` is the ``architecture.tag`` that the run makes; those of the first of `seeds` are kept, whatever
    the others reach. `noise` is the standard deviation of the noise added to the standardised input.
    """

    weights: str
    data: str
    description: str
    license: str
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    noise: float = 0.0
    clip: float = 1.0
    citation: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The registered name of the network."""
        return self.weights.partition(".")[0]

    @classmethod
    def read(cls, source: str | Path) -> "Recipe":
        """A recipe by its name in the package, or from a TOML file.

        Raises:
            FileNotFoundError: neither a file nor a recipe of the package.
            ValueError: the file is no TOML, or lacks an entry, or has one too many.
        """
        path = RECIPES.get(str(source), Path(source))
        if not path.is_file():
            raise FileNotFoundError(f"no recipe {str(source)!r}; pass a .toml file or one of: {', '.join(RECIPES)}")
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as e:
            raise ValueError(f"{path} is not valid TOML: {e}") from e
        fields = {f.name: f for f in dataclasses.fields(cls)}
        required = {
            n for n, f in fields.items() if f.default is dataclasses.MISSING and not callable(f.default_factory)
        }
        missing, extra = sorted(required - raw.keys()), sorted(raw.keys() - fields.keys())
        if missing or extra:
            raise ValueError(f"{path}: missing entries {missing}, unknown entries {extra}; known: {', '.join(fields)}")
        return cls(**{**raw, "seeds": tuple(raw["seeds"])})
