"""Tests of the group of commands: help, suggestions, errors."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

import convrnn_zoo
from convrnn_zoo import _extras
from convrnn_zoo.cli import _group, main
from tests.command_line import run


@pytest.mark.parametrize("command", _group.cli.commands)
def test_every_command_and_option_has_help(command):
    text = run(command, "--help")
    params = [p for p in _group.cli.commands[command].params if p.param_type_name == "option"]
    assert len(text.splitlines()) > 5
    assert all(getattr(p, "help", None) for p in params)


def test_the_help_lists_all_commands():
    text = run("--help")
    assert all(name in text for name in _group.cli.commands)
    assert convrnn_zoo.__version__ in run("--version")


@pytest.mark.parametrize(
    ("args", "suggestion"),
    [
        (["predct"], "predict"), (["infos"], "info"), (["list", "convgru_forcaster"], "convgru_forecaster"),
        (["info", "convgru_forcaster"], "convgru_forecaster"), (["predict", "a", "b", "--dtype", "flaot16"], "float16"),
        (["predict", "a", "b", "--hrizon", "3"], "--horizon"), (["convert", "irne", "a.pth", "-o", "a"], "irene"),
        (["convert", "a.pth", "-o", "a", "--source", "kears"], "keras"),
        (["export", "a", "-o", "a.onnx", "--form", "steps"], "step"),
    ],
)  # fmt: skip
def test_a_misspelt_word_gets_a_suggestion(args, suggestion):
    done = CliRunner().invoke(_group.cli, args)
    assert done.exit_code in (1, 2)
    assert re.search(rf"did you mean [^?]*'?{suggestion}", done.output, re.IGNORECASE)


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-W", "ignore:Implicitly cleaning up:ResourceWarning",  # of torch 2.6 itself
            "-m", "convrnn_zoo", "list", "convrnn1d*",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == convrnn_zoo.list_models("convrnn1d*")
    assert done.stderr == ""


def test_a_missing_extra_is_an_error_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit, match=r"click.*pip install 'convrnn-zoo\[cli\]'"):
        main()
    monkeypatch.undo()
    with pytest.raises(ImportError, match=r"pip install 'convrnn-zoo\[train\]'"):
        _extras.need("a_package_that_is_not_there", "train")


@pytest.mark.parametrize("command", _group.cli.commands)
def test_options_have_the_same_names_in_every_command(command):
    options = {o: p for p in _group.cli.commands[command].params for o in p.opts}
    assert not {"--out", "--into", "--file", "--dir"} & options.keys()
    assert ("-o" in options) == ("--output" in options)
    assert options["--json"].is_flag if "--json" in options else True
    assert options["--device"].type.name == "device" if "--device" in options else True


@pytest.mark.parametrize("device", ["cdua", "cuda:99", "meta"])
@pytest.mark.parametrize("command", [["predict", "a", "b"], ["eval", "a"]])
def test_a_device_that_cannot_be_used_is_a_usage_error(command, device):
    text = run(*command, "--device", device, code=2)
    assert "--device" in text
    assert device in text
