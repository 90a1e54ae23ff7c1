"""Metadata, workflows and templates of a release agree with each other, and jobs have the least rights."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import yaml

import convrnn_zoo

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = {p.name: p for p in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
ALLOWED = {
    ("site.yml", "deploy"): {"contents"},
    ("publish.yml", "publish"): {"id-token"},
    ("rehearse.yml", "publish"): {"id-token"},
}
"""The jobs with rights to write, and these rights."""


def jobs(workflow: str) -> dict[str, Any]:
    return yaml.safe_load(WORKFLOWS[workflow].read_text(encoding="utf-8"))["jobs"]


JOBS = [(workflow, job) for workflow in WORKFLOWS for job in jobs(workflow)]


def test_one_address_everywhere() -> None:
    urls = PROJECT["urls"]
    assert urls["Issues"] == urls["Source"] + "/issues"
    assert urls["Changelog"].startswith(urls["Source"])
    assert (CITATION["repository-code"], CITATION["url"]) == (urls["Source"], urls["Documentation"])


def test_every_python_of_the_classifiers_is_tested() -> None:
    stated = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    matrix = jobs("tests.yml")["tests"]["strategy"]["matrix"]["include"]
    assert {entry["python"] for entry in matrix if not entry.get("experimental")} == stated
    assert min(stated) == PROJECT["requires-python"].removeprefix(">=")
    lowest = next(r.removeprefix("torch>=") for r in PROJECT["dependencies"] if r.startswith("torch>="))
    assert f"{lowest}.*" in {entry["torch"] for entry in matrix}


def test_the_text_on_pypi_shows_pictures_and_links_of_the_repository(tmp_path: Path) -> None:
    for folder in ("convrnn_zoo", "out"):
        (tmp_path / folder).mkdir()
    shutil.copytree(ROOT / "licenses", tmp_path / "licenses")
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "convrnn_zoo/_version.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    code = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel('out')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (file,) = tmp_path.glob("out/*.dist-info/METADATA")
    metadata = message_from_bytes(file.read_bytes())
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert not re.findall(r"\]\((?!https://)", text)
    address = f"{PROJECT['urls']['Source']}/(blob|raw)/v{convrnn_zoo.__version__}/([^)#]+)"
    linked = re.findall(rf"(!?)\[[^]]*\]\({address}", text)
    assert {"docs/pictures/nowcast.gif", "docs/project/cite.md"} <= {path for _, _, path in linked}
    for picture, kind, path in linked:
        assert (ROOT / path).exists()
        assert (kind == "raw") == bool(picture), path


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version(workflow: str) -> None:
    text = WORKFLOWS[workflow].read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    everywhere = {a for path in WORKFLOWS.values() for a in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))}
    assert len({a.partition("@")[0] for a in everywhere}) == len(everywhere), "two versions of an action"


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_jobs_have_no_rights_beyond_their_purpose(workflow: str, job: str) -> None:
    assert yaml.safe_load(WORKFLOWS[workflow].read_text(encoding="utf-8"))["permissions"] == {}
    rights = jobs(workflow)[job]["permissions"]
    assert {right for right, access in rights.items() if access == "write"} == ALLOWED.get((workflow, job), set())
    if (workflow, job) in ALLOWED:
        steps = jobs(workflow)[job]["steps"]
        assert not any("checkout" in step.get("uses", "") for step in steps), "has the code of the repository"
        commands = [line for step in steps for line in step.get("run", "").splitlines()]
        assert all(line.startswith("git ") for line in commands), "runs code with rights"


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_make_targets_of_workflows_exist(workflow: str, job: str) -> None:
    for step in jobs(workflow)[job]["steps"]:
        for targets in re.findall(r"\bmake ([a-z][\w -]*)", step.get("run", "")):
            for target in filter(str.islower, targets.split()):  # and not the names of variables
                assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_pre_commit_runs_the_linters_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    run = {hook["entry"].removeprefix(".venv/bin/").removesuffix(" --fix") for hook in hooks}
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    linters = re.findall(r"\$\(BIN\)/(.+)", recipe[1])
    assert run == {re.sub(r" --check| \.$", "", linter).removesuffix(" .") for linter in linters}


def test_the_source_distribution_has_the_texts_of_the_project() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    folders = re.findall(r"^graft (.+)$", manifest, re.MULTILINE)
    assert {"convrnn_zoo", "docs", "licenses", "notebooks", "tests"} <= set(folders)
    files = re.findall(r"^include (.+)$", manifest, re.MULTILINE)
    patterns = [pattern for line in files for pattern in line.split()]
    for file in (
        "CODE_OF_CONDUCT.md",
        "SUPPORT.md",
        "HOW_TO_RELEASE.md",
        ".gitattributes",
        "hubconf.py",
    ):
        assert (ROOT / file).is_file()
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), file


def test_text_files_have_the_same_line_ends_on_every_system() -> None:
    lines = (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()
    assert "* text=auto eol=lf" in lines
    binary = {line.split()[0].removeprefix("*") for line in lines if line.endswith(" binary")}
    for folder in ("convrnn_zoo", "docs", "model_cards", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                content = path.read_bytes()
                assert b"\0" not in content or path.suffix in binary, path
                assert path.suffix in binary or b"\r\n" not in content, path


@pytest.mark.needs("make")
def test_the_files_of_the_version_tests_exist() -> None:
    show = ["make", "--no-print-directory", "--eval=show: ; @echo $(BOTH_ENDS) $(SELECTION)", "show"]
    files = subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert len(files) > 10
    assert not [file for file in files if not (ROOT / file).exists()]
