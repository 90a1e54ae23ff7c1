"""Tests of the group of commands: help, suggestions, errors."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from convrnn_zoo import _extras
from convrnn_zoo.cli._text import spell_options
from convrnn_zoo_command import group as _group
from convrnn_zoo_command import main
from tests.helpers.command_line import run

CONTEXT = click.Context(_group.cli)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", _group.COMMANDS)
def test_every_command_and_option_has_help_and_one_name(command):
    text = run(command, "--help")
    params = [p for p in _group.cli.get_command(CONTEXT, command).params if p.param_type_name == "option"]
    assert len(text.splitlines()) > 5
    assert all(p.help for p in params)
    options = {o: p for p in params for o in p.opts}
    assert not {"--out", "--into", "--file", "--dir"} & options.keys()  # one name for each in all commands
    assert ("-o" in options) == ("--output" in options)
    assert options["--json"].is_flag if "--json" in options else True
    assert options["--device"].type.name == "device" if "--device" in options else True


@pytest.mark.parametrize("command", _group.COMMANDS)
def test_the_help_of_the_group_is_that_of_the_command(command):
    function, text = _group.COMMANDS[command]
    imported = _group.cli.get_command(CONTEXT, command)
    assert imported.get_short_help_str(200) == text
    assert (imported.name, imported.callback.__name__) == (command, function)


@pytest.mark.parametrize(
    ("args", "suggestion"),
    [
        (["predct"], "predict"),
        (["infos"], "info"),
        (["list", "convgru_forcaster"], "convgru_forecaster"),
        (["info", "convgru_forcaster"], "convgru_forecaster"),
        (["predict", "a", "b", "--dtype", "flaot16"], "float16"),
        (["predict", "a", "b", "--hrizon", "3"], "--horizon"),
        (["convert", "irne", "a.pth", "-o", "a"], "irene"),
        (["convert", "a.pth", "-o", "a", "--source", "kears"], "keras"),
        (["export", "a", "-o", "a.onnx", "--form", "steps"], "step"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(args, suggestion):
    done = CliRunner().invoke(_group.cli, args)
    assert done.exit_code in (1, 2)
    assert re.search(rf"did you mean [^?]*'?{suggestion}", done.output, re.IGNORECASE)


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=" ".join)
def test_help_does_not_import_torch(words, tmp_path):
    module = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["convrnn-zoo"]
    script = tmp_path / "convrnn-zoo"  # as pip writes it
    script.write_text("import sys\nfrom {} import {}\nsys.exit(main())\n".format(*module.split(":")))
    done = subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "convrnn_zoo_command.group" in imported
    assert not imported & {"torch", "timm", "torchvision", "huggingface_hub", "numpy"}


@pytest.mark.parametrize(("before", "within"), [({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")], ids=["ours", "own"])
def test_commands_ask_for_huge_pages_unless_the_user_decides(before, within, monkeypatch):
    found = []
    monkeypatch.setattr(os, "environ", before)
    monkeypatch.setattr(_group, "cli", lambda: found.append(os.environ["THP_MEM_ALLOC_ENABLE"]))
    main()
    assert found == [within]


def test_a_missing_extra_is_an_error_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"click.*pip install 'convrnn-zoo\[cli\]'"):
        main()
    monkeypatch.undo()
    with pytest.raises(ImportError, match=r"pip install 'convrnn-zoo\[train\]'"):
        _extras.need("a_package_that_is_not_there", "train")


@pytest.mark.parametrize("device", ["cdua", "cuda:99", "meta"])
@pytest.mark.parametrize("command", [["predict", "a", "b"], ["eval", "a"]])
def test_a_device_that_cannot_be_used_is_a_usage_error(command, device):
    text = run(*command, "--device", device, code=2)
    assert "--device" in text
    assert device in text


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        ("pass seed=1", "pass --seed 1"),
        ("pass seed='a/b', or none", "pass --seed a/b, or none"),
        ("runs/seed=1/x.npy is damaged", None),
        ("seed=1/x.npy is damaged", None),
        ("runs\\seed=1.npy is damaged", None),
        ("seed=1\\x.npy is damaged", None),
    ],
)
def test_arguments_are_spelled_as_options_and_paths_are_kept(message, spelled):
    command = click.Command("train", params=[click.Option(["--seed"])])
    assert spell_options(message, command) == (spelled or message)
