"""Atomic writes: the file is complete or unchanged, and an error keeps its class and its reason."""

import errno
import os
import shutil

import pytest

import convrnn_zoo
from convrnn_zoo._atomic import atomic_write, write_text

MODEL = {"hidden_channels": 2, "num_classes": 2, "in_chans": 1}


def test_a_missing_input_is_not_reported_as_the_output(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "out.txt") as temporary:
        temporary.write_text((tmp_path / "input.txt").read_text())
    assert caught.value.filename == str(tmp_path / "input.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("named", [False, True])
def test_errors_retain_their_class_and_reason(code, named, tmp_path):
    with pytest.raises(OSError, match=os.strerror(code)) as caught, atomic_write(tmp_path / "out.txt") as temporary:
        raise OSError(code, os.strerror(code), *([str(temporary)] if named else []))
    assert type(caught.value) is type(OSError(code, ""))
    assert (caught.value.errno, caught.value.filename) == (code, str(tmp_path / "out.txt"))
    assert ("disk space" in str(caught.value)) == (code == errno.ENOSPC)


def write_directory(path, text):
    path.mkdir()
    (path / "a").mkdir()
    (path / "a" / f"{text}.txt").write_text(text)


def contents(path):
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


@pytest.mark.needs("symlinks")
@pytest.mark.parametrize("is_link", [False, True])
def test_a_directory_replaces_a_directory(is_link, tmp_path):
    path = target = tmp_path / "out"
    if is_link:
        target = tmp_path / "target"
        path.symlink_to(target)
    write_directory(target, "old")
    target.chmod(0o750)
    with atomic_write(path) as temporary:
        write_directory(temporary, "new")
        assert contents(path) == {"a/old.txt": "old"}
    assert contents(path) == {"a/new.txt": "new"}
    assert target.stat().st_mode & 0o777 == 0o750
    assert path.is_symlink() == is_link
    assert {p.name for p in tmp_path.iterdir()} == {"out", target.name}


def test_an_error_leaves_a_directory_unchanged(tmp_path):
    write_directory(tmp_path / "out", "old")

    def fail(path):
        write_directory(path, "new")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with pytest.raises(OSError, match="directory is unchanged"), atomic_write(tmp_path / "out") as temporary:
        fail(temporary)
    assert contents(tmp_path) == {"out/a/old.txt": "old"}


def test_a_directory_that_cannot_be_moved_into_place_leaves_the_previous_one(tmp_path, monkeypatch):
    write_directory(tmp_path / "out", "old")
    replace = os.replace

    def fail_once(source, target):
        if str(source).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with pytest.raises(OSError, match="directory is unchanged"), atomic_write(tmp_path / "out") as temporary:
        write_directory(temporary, "new")
    assert contents(tmp_path) == {"out/a/old.txt": "old"}


def test_a_previous_directory_that_cannot_be_removed_is_a_warning(tmp_path, monkeypatch):
    write_directory(tmp_path / "out", "old")

    def fail(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(shutil, "rmtree", fail)
    with pytest.warns(UserWarning, match=r"out is written.*\.old"), atomic_write(tmp_path / "out") as temporary:
        write_directory(temporary, "new")
    assert contents(tmp_path / "out") == {"a/new.txt": "new"}
    [left] = tmp_path.glob(".*.old")
    assert contents(left) == {"a/old.txt": "old"}


def test_a_file_is_not_replaced_by_a_directory(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(NotADirectoryError), atomic_write(tmp_path / "out") as temporary:
        write_directory(temporary, "new")
    assert contents(tmp_path) == {"out": "x"}


@pytest.mark.needs("symlinks")
def test_a_failed_save_is_an_error_of_the_system_and_not_of_the_hub(tmp_path):
    model = convrnn_zoo.create_model("convgru1d_1layer", **MODEL)
    (tmp_path / "file").write_text("")
    for directory in ("/sys/model", tmp_path / "file"):
        with pytest.raises(OSError, match=str(directory)) as caught:
            convrnn_zoo.save_pretrained(model, directory)
        assert not isinstance(caught.value, convrnn_zoo.ConvRNNHubError)
        assert isinstance(caught.value, PermissionError | FileExistsError | NotADirectoryError)


@pytest.mark.needs("symlinks")
def test_links_and_permissions_are_kept(tmp_path):
    real, link, long = tmp_path / "real.txt", tmp_path / "link.txt", tmp_path / ("a" * 240 + ".txt")
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_text(link, "new")
    assert (real.read_text(), link.is_symlink(), real.stat().st_mode & 0o777) == ("new", True, 0o600)
    write_text(long, "x")
    assert long.read_text() == "x"
