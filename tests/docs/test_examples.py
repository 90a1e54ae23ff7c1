"""Tests that run every example of README, pages and cards, in order, in an empty directory."""

import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import convrnn_zoo.train.forecaster  # so that examples train with the fixture small_figures
from convrnn_zoo.predict import spot_words
from convrnn_zoo_command.group import cli
from tests.helpers.data.minicubes import arrays, save
from tests.helpers.docs import climate
from tests.helpers.docs.pages import CARDS, PAGES, ROOT, Block, blocks, name
from tests.helpers.interop.recorded import recorded
from tools import figures

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
SHAPE = re.compile(r"^(?:print\()?(\w+)(?: = .*|\.shape\) *)# \((\d[\d, ]*)\)", re.MULTILINE)
WITH_BLOCKS = [page for page in PAGES if blocks(page)]

HOW_TO = (
    "archive earth-surface export extend-training forecasting gpu interop nowcasting onnxruntime "
    "own-data programs runs serve speech torch-export video"
)
TUTORIALS = ("clips", "forecaster", "hub", "nowcast", *climate.PAGES)
SLOW = {
    "docs/gallery.md",
    "docs/models/published.md",
    *(f"docs/how-to/{page}.md" for page in HOW_TO.split()),
    *(f"docs/tutorials/{page}.md" for page in TUTORIALS),
}
"""Pages whose examples take more than half a second."""
OPTIONAL = {"docs/how-to/lightning.md": "lightning", "docs/how-to/serve.md": "fastapi"}
"""Packages that the examples of a page need and no extra installs: without one, the page is skipped."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples use."""
    tmp_path = tmp_path_factory.mktemp("files")
    shutil.copy(ROOT / "hubconf.py", tmp_path)
    np.save(tmp_path / "recording.npy", np.random.default_rng(0).normal(size=(17, 12, 1)))
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).uniform(0, 5, size=(16, 40, 48)))
    shutil.copy(Path(convrnn_zoo.__file__).parent / "demo" / "seven.wav", tmp_path / "recording.wav")
    for data in ("radar.zarr", "recordings"):
        (tmp_path / data).mkdir()  # for commands that are only parsed
    state = {"cell_list.0.conv.weight": torch.randn(16, 7, 3, 3), "cell_list.0.conv.bias": torch.randn(16)}
    torch.save(state, tmp_path / "old.pth")
    torch.save(recorded("irene").state, tmp_path / "model.ckpt")
    for source, file in (
        ("weather2land", "Epoch-epoch=58-ENS-EarthNetScore=0.3247.ckpt"),
        ("sg_convlstm", "SGConvLSTM.ckpt"),
        ("predrnn_greenearthnet", "seed=42.ckpt"),
    ):
        torch.save(recorded(source).state, tmp_path / file)
    cube = "29SND_2017-06-30_2017-11-26_1081_1209_1721_1849_16_96_26_106"
    save(tmp_path / f"context_{cube}.npz", **arrays(10, size=128))
    save(tmp_path / f"target_{cube}.npz", **arrays(20, size=128))
    torch.save(recorded("openstl_mau").state, tmp_path / "mmnist_mau_one_ep200.pth")
    return tmp_path


@pytest.fixture
def directory(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory in which examples run, with the files that they use and nothing else of the checkout."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(block: Block, names: dict[str, Any]) -> int:
    """Runs an example, compares the shapes in its comments, and returns their number."""
    exec(compile(block.code, "example", "exec"), names)
    shapes = SHAPE.findall(block.code)
    for variable, shape in shapes:
        assert tuple(names[variable].shape) == tuple(map(int, shape.split(","))), variable
    return len(shapes)


def write_recipe(block: Block) -> None:
    """Writes a recipe to the file that its first line names."""
    head, name = block.code.splitlines()[0].split()
    assert head == "#", block.code
    Path(name).write_text(block.code, encoding="utf-8")


def run_shell(block: Block) -> None:
    """Runs the commands of the zoo, or parses them if the block is not run. Checks other commands by name."""
    for line in block.code.replace("\\\n", "").splitlines():
        program, *words = shlex.split(line.partition("-m ")[2] or line, comments=True)
        if program in ("convrnn-zoo", "convrnn_zoo"):
            if block.reason:
                parse(words)
            else:
                result = CliRunner().invoke(cli, words)
                assert result.exit_code == 0, result.output
        elif program == "pip":
            named = re.findall(r"\[(.*)\]", words[-1])
            assert {extra for extras in named for extra in extras.split(",")} <= set(EXTRAS), line
        elif program == "make":
            assert words[0] in TARGETS, line
        else:
            assert block.reason, f"{line!r} cannot be run here: mark its block with <!-- not run: REASON -->"


def parse(words: list[str]) -> click.Context:
    """Parses a command and checks its arguments, including paths that must exist."""
    with click.Context(cli) as context:
        command = cli.get_command(context, words[0])
        assert command is not None, words[0]
        return command.make_context(words[0], words[1:], parent=context)


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if name(p) in SLOW else (), id=name(p)) for p in WITH_BLOCKS],
)
def test_examples_run(page: Path, directory: Path) -> None:
    if name(page) in OPTIONAL:
        pytest.importorskip(OPTIONAL[name(page)])
    if page.stem in climate.PAGES:
        climate.write_climate(directory)
    names: dict[str, Any] = {}
    if page in CARDS:  # a card's snippet is given data in the shape that its record names
        weights = convrnn_zoo.WEIGHTS[page.stem]
        frames = weights.preprocessing.inputs if weights.preprocessing else 8
        shape = [frames if size == "T" else 8 if isinstance(size, str) else size for size in weights.input_shape]
        names = {"torch": torch, "x": torch.rand(2, *shape)}
    for block in blocks(page):
        if page == ROOT / "README.md":
            names = {}  # each of its examples can be pasted by itself
        if block.language == "sh":
            run_shell(block)
        elif block.language == "toml":
            write_recipe(block)
        elif block.language == "python" and block.reason:
            compile(block.code, name(page), "exec")
        elif block.language == "python":
            run_python(block, names)
    if page.parent.name == "tutorials" or page.name == "gallery.md":
        assert {file for file in figures(page) if not Path(file).is_file()} <= {"families.png"}


@pytest.mark.slow
def test_the_spotter_of_the_example_finds_the_word_at_the_end(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = [b for b in blocks(ROOT / "docs/how-to/speech.md") if b.language == "python" and "Spotter(" in b.code]
    names: dict[str, Any] = {"convrnn_zoo": convrnn_zoo, "shutil": shutil, "Path": Path}
    run_python(block, names)
    words = [spot.label for spot in spot_words(names["model"], names["wave"], names["rate"])]
    printed = capsys.readouterr().out.splitlines()
    assert len(words) == 8
    assert all(word in line for word, line in zip(words, printed, strict=True))


def test_every_example_is_found() -> None:
    for page in WITH_BLOCKS:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page  # one marker must not hide the examples up to the next


@pytest.mark.parametrize("code", ["x = torch.ones(2, 3)  # (3, 2)", "y = 1 / 0"])
def test_a_wrong_example_fails(code: str) -> None:
    with pytest.raises((AssertionError, ZeroDivisionError)):
        run_python(Block("python", code, None), {"torch": torch})


@pytest.mark.parametrize(
    "line", ["convrnn-zoo list nothing", "pip install '.[nothing]'", "make nothing", "curl https://example.org"]
)
def test_a_wrong_command_fails(line: str) -> None:
    with pytest.raises(AssertionError):
        run_shell(Block("sh", line, None))
