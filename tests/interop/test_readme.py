"""The README's road from an old checkpoint to a repository: its commands are the program's, and in that order work."""

import re
import shlex
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import interop
from convrnn_zoo.cli._group import cli

from .examples import STATES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Bring your weights\n")[2].partition("\n## ")[0]


def test_the_road_is_five_lines_that_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    road = re.findall(r"```sh\n(.*?)```", SECTION, flags=re.DOTALL)[0].strip().splitlines()
    assert len(road) == 5
    ours = [shlex.split(line, comments=True)[1:] for line in road if line.startswith("convrnn-zoo")]
    assert [command for command, *_ in ours] == ["convert", "push"]
    monkeypatch.chdir(tmp_path)
    torch.save(STATES["ndrplz"].state, "old.pth")
    convert, push = ours
    result = CliRunner().invoke(cli, convert)
    assert result.exit_code == 0, result.output
    with click.Context(cli) as context:
        made = cli.commands["push"].make_context("push", push[1:], parent=context)  # every path in it is there by now
    assert Path(made.params["source"], "config.json").is_file()
    assert made.params["card"].is_file()


def test_every_source_is_told_of_and_whether_it_is_written() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` .* \| (yes|no) \|$", SECTION, flags=re.MULTILINE))
    assert rows == {name: "yes" if source.export else "no" for name, source in interop.SOURCES.items()}
    for source in interop.SOURCES.values():
        assert source.title.rpartition("https://")[2].split("#")[0] in SECTION or source.name == "torch"
