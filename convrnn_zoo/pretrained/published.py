"""Weights that other projects publish, by name: their metadata, which ``weights/published.toml`` contains."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .metadata import DIRECTORY

FILE = DIRECTORY / "published.toml"
NOT_STATED = "other"
"""The Hub's id of a licence that is none of its list; here, of weights whose licence nobody has stated."""


@dataclass(frozen=True)
class Published:
    """A set of weights that others publish, ``architecture.tag``. The file is downloaded and converted when it is used.

    The page of published networks, ``convrnn-zoo info`` and ``list``, and the metadata of the loaded model are
    generated from it. docs/project/adding-weights.md describes how to add one.
    """

    name: str
    address: str
    """``https://…`` of the file or of an archive, or ``hf://OWNER/REPO@COMMIT/FILE``."""
    license: str
    """The Hub's id of the licence, such as ``mit``; ``other`` if none is stated."""
    license_source: str
    """Where the licence is stated, or what is known of it."""
    converter: str
    """Name of the converter, in :data:`convrnn_zoo.interop.SOURCES`."""
    paper: str
    """Authors and year."""
    paper_url: str
    dataset: str
    """Name of the training data."""
    verified: str
    """What was compared with the original code."""
    unverified: str
    """What was not."""
    task: str = ""
    """What the network does, in a few words."""
    member: str = ""
    """Name of the file in the zip archive at `address`."""
    page: str = ""
    """Page of the owner that describes the file, if it is not the address."""
    size: int | None = None
    """Size of the file in bytes, as all checksums that of the member of an archive."""
    sha256: str = ""
    blob: str = ""
    """Object id of the file in git, which is a checksum."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the converter."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the architecture that differ from its defaults. The converted weights are checked against them."""
    dataset_url: str = ""
    difference: str = ""
    """Largest difference from the original's outputs, and the weights with which it was measured."""
    score: str = ""
    """Score of the converted weights on real data, if somebody has measured it."""
    remarks: str = ""
    """Limitations of the weights."""

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """Tag of the weights."""
        return self.name.partition(".")[2]

    @property
    def file(self) -> str:
        """Name of the file, without directories."""
        return (self.member or self.address).rpartition("/")[2]

    @property
    def where(self) -> str:
        """The page or address that a reader opens."""
        return self.page or self.address

    @property
    def owner(self) -> str:
        """The account or site that publishes the file."""
        scheme, _, location = self.address.partition("://")
        site, account = location.split("/")[:2]
        return site if scheme == "hf" else account if "github" in site else site

    @property
    def location(self) -> str:
        """Who publishes the file, and its size if it is known."""
        return f"downloaded from {self.owner}" + (f", {self.size / 1e6:,.1f} MB" if self.size else "")

    @property
    def license_text(self) -> str:
        """The licence in words."""
        return "none stated" if self.license == NOT_STATED else self.license

    @property
    def is_pinned(self) -> bool:
        """Whether a checksum of the file is known before it is downloaded."""
        return bool(self.sha256 or self.blob)

    @property
    def command(self) -> str:
        """Shell command that converts the file after a download by hand."""
        options = "".join(f" --set {key}={value}" for key, value in self.options.items())
        return f"convrnn-zoo convert {self.converter} {self.file} -o converted{options}"

    def cfg(self, input_size: tuple[int, ...]) -> dict[str, Any]:
        """Returns fields of timm's ``PretrainedCfg``; `input_size` ``(C, H, W)`` is that of the architecture."""
        channels, *size = input_size
        channels = self.model_args.get("in_chans", channels)
        return {
            "url": self.address,
            "license": self.license,
            "origin_url": self.where,
            "input_size": (channels, *self.model_args.get("img_size", size)),
            "mean": (0.0,) * channels,
            "std": (1.0,) * channels,
        }

    def describe(self) -> dict[str, str]:
        """Returns the fields that ``convrnn-zoo info`` prints."""
        fields = {
            "published by": self.where,
            "file": f"{self.member + ' in ' if self.member else ''}{self.address}",
            "size of the file": f"{self.size:,} bytes" if self.size else "not known before the download",
            "checksum of the file": self.sha256 or (f"git {self.blob}" if self.blob else "nobody has published one"),
            "licence": f"{self.license_text}; {self.license_source}",
            "trained on": self.dataset,
            "paper": f"{self.paper}, {self.paper_url}",
            "verified": self.verified,
            "not verified": self.unverified,
            "difference from the original": self.difference,
            "score on real data": self.score,
            "limitations": self.remarks,
            "to convert it by hand": self.command,
        }
        return {name: text for name, text in fields.items() if text}


def read_published(text: str) -> dict[str, Published]:
    """Reads the text of ``published.toml``.

    Each ``[[group]]`` has a table ``sets`` with the fields of each set by name, and fields that its sets share. An
    `address` of a set without ``://`` is appended to that of the group.

    Raises:
        ValueError: two sets have the same name.
        TypeError: a field is missing or unknown.
    """
    published: dict[str, Published] = {}
    for group in tomllib.loads(text)["group"]:
        shared = {key: value for key, value in group.items() if key != "sets"}
        for name, fields in group["sets"].items():
            address = fields.get("address", "")
            if "://" not in address:
                address = shared.get("address", "") + address
            tables = {key: {**shared.get(key, {}), **fields.get(key, {})} for key in ("options", "model_args")}
            if name in published:
                raise ValueError(f"{FILE.name} has two sets of weights with the name {name}")
            published[name] = Published(**{**shared, **fields, "name": name, "address": address, **tables})
    return published


PUBLISHED: dict[str, Published] = read_published(FILE.read_text(encoding="utf-8"))
"""Weights of other projects by name, ``"architecture.tag"``. ``pretrained=True`` loads the first set of a name."""


def find_published(architecture: str) -> list[Published]:
    """Returns the weights that others publish for an architecture, in the order of the file."""
    return [p for name, p in PUBLISHED.items() if name.startswith(f"{architecture}.")]
