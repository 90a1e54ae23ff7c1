"""Weights of other projects by name: download, check, conversion, cache, and every failure on the way."""

import dataclasses
import hashlib
import io
import json
import os
import socket
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors
import timm
import torch

import convrnn_zoo
from convrnn_zoo import WEIGHTS, HubAccessError, WeightsError, interop
from convrnn_zoo.interop import SOURCES
from convrnn_zoo.pretrained import fetch
from convrnn_zoo.pretrained.download import HubFile
from convrnn_zoo.pretrained.published import FILE, PUBLISHED, Published, read_published
from tests.helpers.command_line import run
from tests.helpers.hub.examples import representatives
from tests.helpers.hub.owners import Answer, Owners, answer_file, send, serve_owners
from tests.helpers.interop.recorded import recorded
from tests.helpers.registry import slow_unless
from tests.interop.test_pickles import needs_pickles

NAME = "firenet.evreal"
STATE = recorded("firenet").state
SIZES = {"hidden_channels": len(STATE["net.head.recurrent_block.reset_gate.bias"]), "in_chans": 5, "kernel_size": 3}


def saved(state: Any) -> bytes:
    torch.save({"state_dict": state}, buffer := io.BytesIO())
    return buffer.getvalue()


CONTENT = saved(STATE)


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owners]:
    with serve_owners(monkeypatch) as server:
        yield server


@pytest.fixture
def publish(owners: Owners, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Published]:
    """Publishes the recorded weights of FireNet under the address of the real ones."""
    like = interop.load("firenet", STATE)
    sizes = {k: v for k, v in like.model_args.items() if k != "num_classes"}

    def publish(content: bytes = CONTENT, **fields: Any) -> Published:
        known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "model_args": sizes}
        published = dataclasses.replace(PUBLISHED[NAME], **{**known, **fields})
        monkeypatch.setitem(PUBLISHED, NAME, published)
        owners.files[published.address] = content
        return published

    return publish


def load(cache: Path, **options: Any) -> Any:
    return convrnn_zoo.create_model(NAME, pretrained=True, cache_dir=cache, **options).eval()


def origin(file: Path) -> Any:
    """Returns the origin of weights that the header of their file states."""
    with safetensors.safe_open(file, "pt") as opened:
        header = opened.metadata()
    return json.loads(header["origin"]) if "origin" in header else None


def is_clean(cache: Path) -> bool:
    return not [path for path in cache.rglob("*") if path.is_file() and path.name != fetch.LOCK]


# ---- what works ----------------------------------------------------------------------------------------------------
@needs_pickles
@pytest.mark.parametrize("pinned", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_name_is_downloaded_and_converted_once(
    pinned: bool, publish: Any, owners: Owners, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    published = publish(**({} if pinned else {"sha256": "", "size": None}))
    model, expected = load(tmp_path).state_dict(), interop.load("firenet", STATE).state_dict()
    assert model.keys() == expected.keys()
    assert all(torch.equal(model[key], value) for key, value in expected.items())
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert ("nobody has published a checksum" in caplog.text and sha256 in caplog.text) == (not pinned)
    assert "Ask the authors" in caplog.text
    owners.files.clear()  # the network is off
    again = load(tmp_path)
    assert len(owners.requests) == 1
    assert all(torch.equal(value, expected[key]) for key, value in again.state_dict().items())
    assert again.metadata.license == again.pretrained_cfg["license"] == "other"
    assert published.address in again.metadata.description
    assert sha256 in again.metadata.description
    convrnn_zoo.save_pretrained(again, tmp_path / "saved")
    for file in tmp_path.rglob("*.safetensors"):  # in the cache, and saved
        assert origin(file) == {"address": published.address, "sha256": sha256, "licence": "none stated"}
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "unstated" in card
    assert published.address in card
    assert f'create_model("{NAME}", pretrained=True)' in card
    again.head.bias.data += 1  # no longer the weights of others
    convrnn_zoo.save_pretrained(again, tmp_path / "changed")
    assert origin(tmp_path / "changed" / "model.safetensors") is None
    if not pinned:  # the first checksum holds later, also after the cache has lost the weights
        for directory in tmp_path.rglob(f"*-{fetch.CONVERTERS}"):
            directory.rename(tmp_path / "moved")
        owners.files[published.address] = saved({k: v + 1 for k, v in STATE.items()})
        with pytest.raises(WeightsError, match=f"{NAME}.*sha256.*{sha256}"):
            load(tmp_path)


@needs_pickles
@pytest.mark.slow
def test_every_way_to_a_model_leads_to_the_weights(
    publish: Any, owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr(fetch, "cached_assets_path", lambda *names, assets_dir=None: make(tmp_path.joinpath(*names)))
    text = run("pull", NAME, "-o", tmp_path / "out")
    assert NAME in text
    assert "licence: other" in text
    models = [
        convrnn_zoo.create_model("firenet", pretrained=True),
        convrnn_zoo.create_model("firenet", pretrained="evreal"),
        timm.create_model("firenet", pretrained=True),
        timm.create_model(NAME, pretrained=True),
        convrnn_zoo.from_pretrained("firenet"),
        convrnn_zoo.from_pretrained(NAME),
        convrnn_zoo.from_pretrained(tmp_path / "out"),
        torch.hub.load(str(fetch.ROOT), "firenet", source="local", pretrained=True),
    ]
    for model in models:
        assert torch.equal(model.state_dict()["head.bias"], models[0].state_dict()["head.bias"])
    assert len(owners.requests) == 1


@needs_pickles
@torch.no_grad()
@pytest.mark.slow
def test_weights_of_openstl_load_by_name(owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small weights of OpenSTL's own code, with the outputs that it gives, in place of those that it publishes."""
    name, known = "e3d_lstm.openstl_taxibj", recorded("openstl_e3dlstm_channels")
    sizes = {"hidden_channels": 2, "num_layers": 2, "img_size": [8, 8], "in_chans": 2, "patch_size": 2, "horizon": 2}
    published = dataclasses.replace(PUBLISHED[name], options=known.kwargs, model_args=sizes)
    monkeypatch.setitem(PUBLISHED, name, published)
    torch.save(known.state, buffer := io.BytesIO())
    owners.files[published.address] = buffer.getvalue()
    model = convrnn_zoo.create_model(name, pretrained=True, cache_dir=tmp_path).eval()
    expected = known.values["y"]
    assert (model(known.values["x"]) - expected).abs().max() <= 1e-5 * expected.std()
    assert model.metadata.license == "apache-2.0"


def make(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@needs_pickles
def test_a_member_of_an_archive_is_read_by_ranges(publish: Any, owners: Owners, tmp_path: Path) -> None:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("other", os.urandom(2**23))
        archive.writestr("weights/model.pth", CONTENT)
    sizes: list[int] = []

    def count(handler: Any, content: bytes) -> None:
        first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        sizes.append(last - first + 1)
        answer_file(handler, content)

    owners.answers = [count] * 100
    published = publish(member="weights/model.pth")
    owners.files[published.address] = buffer.getvalue()
    assert fetch._download(published, tmp_path, None, None).read_bytes() == CONTENT
    assert sum(sizes) < 2**22 < len(buffer.getvalue())
    owners.answers = [answer_file, status(503)] * 2  # zipfile hides the second
    assert fetch._download(published, tmp_path, None, None).read_bytes() == CONTENT


@needs_pickles
@pytest.mark.slow
def test_a_redirection_to_https_and_the_id_of_git(publish: Any, owners: Owners, tmp_path: Path) -> None:
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    moved = "https://objects.githubusercontent.com/moved"
    publish(sha256="", blob=blob)
    owners.files[moved] = CONTENT
    owners.answers = [status(302, Location=moved)]
    load(tmp_path)
    assert len(owners.requests) == 2
    publish(sha256="", blob="0" * 40)
    with pytest.raises(WeightsError, match=f"git object id.*{blob}.*{'0' * 40}"):
        load(tmp_path / "other")
    assert is_clean(tmp_path / "other")


@needs_pickles
@pytest.mark.slow
def test_the_directory_of_a_killed_process_is_removed(publish: Any, tmp_path: Path) -> None:
    published = publish()
    directory = fetch.fetch(published, tmp_path)
    killed = directory.with_name(f"{fetch.TEMPORARY}killed")
    make(killed / "converted")
    directory.rename(tmp_path / "moved")
    fetch.fetch(published, tmp_path)
    assert not killed.exists()


@needs_pickles
@pytest.mark.slow
def test_a_damaged_copy_in_the_cache_is_converted_again(
    publish: Any, owners: Owners, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = fetch.fetch(publish(), tmp_path)
    files = {path: path.read_bytes() for path in directory.iterdir()}
    (directory / "config.json").unlink()
    load(tmp_path)
    weights = directory / "model.safetensors"
    weights.write_bytes(files[weights][:-1] + b"\1")
    available, owners.files = owners.files, {}
    with pytest.raises(HubAccessError, match="404"):  # the network is off
        load(tmp_path)
    owners.files = available
    load(tmp_path)
    assert {path: path.read_bytes() for path in directory.iterdir()} == files
    assert caplog.text.count(f"{directory} are damaged") == 3
    with convrnn_zoo.size_limit(100), pytest.raises(WeightsError, match="more than the limit"):
        load(tmp_path)
    assert len(owners.requests) == 4  # not for a file that is too large


# ---- what fails ----------------------------------------------------------------------------------------------------
def status(code: int, **headers: str) -> Answer:
    return lambda handler, content: send(handler, b"", code, **headers)


def truncated(handler: Any, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:100])


def silent(handler: Any, content: bytes) -> None:
    handler.rfile.read(1)  # until the client gives up


def reset(handler: Any, content: bytes) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


PAGE = b"<!DOCTYPE html><title>Too many requests</title>"
FAILURES: dict[str, tuple[Answer, int, type[Exception], str]] = {
    "404": (status(404), 1, HubAccessError, "404"),
    "403": (status(403), 1, HubAccessError, "403"),
    "500": (status(500), 3, HubAccessError, "500"),
    "a redirection to HTTP": (status(302, Location="http://example.org/x"), 1, WeightsError, "not HTTPS"),
    "a redirection that leads nowhere": (status(302, Location="https://github.com/x"), 2, HubAccessError, "404"),
    "another file": (lambda h, c: send(h, bytes(len(c))), 1, WeightsError, "sha256"),
    "a short file": (lambda h, c: send(h, c[:-1]), 1, WeightsError, "size"),
    "a web page": (lambda h, c: send(h, PAGE), 1, WeightsError, "web page"),
    "a large file": (lambda h, c: send(h, c + bytes(2**20)), 1, WeightsError, "more bytes"),
    "a broken download": (truncated, 3, HubAccessError, "broke off|IncompleteRead"),
    "silence": (silent, 3, HubAccessError, "timed out"),
    "a reset": (reset, 3, HubAccessError, "cannot be downloaded"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_the_server_is_one_clear_error(
    failure: str, publish: Any, owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, requests, error, message = FAILURES[failure]
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    published = publish()
    owners.answers = [answer] * requests
    with pytest.raises(error, match=rf"(?s)^(?:{NAME}|https).*(?:{message})") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert published.address in str(caught.value)
    deadline = time.monotonic() + 10
    while len(owners.requests) < requests and time.monotonic() < deadline:
        time.sleep(0.01)  # on a busy machine, the server reads a request after the client has given up
    assert len(owners.requests) == requests
    assert is_clean(tmp_path)


@needs_pickles
@pytest.mark.slow
def test_a_download_that_breaks_off_is_repeated(publish: Any, owners: Owners, tmp_path: Path) -> None:
    publish()
    owners.answers = [truncated, status(503)]
    load(tmp_path)
    assert len(owners.requests) == 3


@needs_pickles
@pytest.mark.slow
def test_two_loads_at_once_give_one_directory(publish: Any, owners: Owners, tmp_path: Path) -> None:
    published = publish()
    with ThreadPoolExecutor(2) as pool:
        directories = list(pool.map(lambda _: fetch.fetch(published, tmp_path), range(2)))
    assert directories[0] == directories[1]
    assert sorted(p.name for p in directories[0].parent.iterdir()) == sorted(
        [fetch.LOCK, fetch.RECORDED, directories[0].name]
    )
    assert len(owners.requests) == 1
    load(tmp_path)


def damaged_archive() -> bytes:
    """Returns a zip archive with a compressed member whose content is not what was compressed."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.ckpt", b"content" * 100)
    compressed = zlib.compress(b"content" * 100)[2:-4]
    return buffer.getvalue().replace(compressed, b"\xff" * len(compressed), 1)


ARCHIVES: dict[str, tuple[Answer | None, bytes, str]] = {
    "no ranges": (lambda h, c: send(h, c), b"", "does not send parts"),
    "no archive": (None, bytes(1000), "not a sound zip"),
    "a damaged member": (None, damaged_archive(), "not a sound zip"),
    "no member": (None, b"PK\5\6" + bytes(18), "has no member"),
}


@pytest.mark.parametrize("failure", ARCHIVES)
def test_a_failure_of_an_archive(
    failure: str, publish: Any, owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, content, message = ARCHIVES[failure]
    publish(content, member="a/b.ckpt", size=None, sha256="")
    monkeypatch.setattr(fetch, "CHUNK", 64)
    owners.answers = [answer] if answer else []
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)
    assert is_clean(tmp_path)


@needs_pickles
@pytest.mark.parametrize("case", slow_unless(lambda _: False, ["no checkpoint", "other sizes", "another network"]))
def test_a_conversion_that_fails_leaves_nothing(case: str, publish: Any, tmp_path: Path) -> None:
    if case == "other sizes":
        publish(model_args={"hidden_channels": 3})
    elif case == "another network":
        publish(saved({"cell_list.0.conv.weight": torch.zeros(8, 5, 3, 3), "cell_list.0.conv.bias": torch.zeros(8)}))
    else:
        publish(b"nothing")
    with pytest.raises(WeightsError, match=f"^{NAME}: the conversion failed: .*file"):
        load(tmp_path)
    assert is_clean(tmp_path)


def test_a_killed_conversion_leaves_nothing(publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()
    monkeypatch.setattr(fetch.sys, "executable", "false")
    with pytest.raises(WeightsError, match=f"^{NAME}: the conversion failed"):
        load(tmp_path)
    assert is_clean(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions")
def test_a_cache_that_cannot_be_written(publish: Any, tmp_path: Path) -> None:
    publish()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(HubAccessError, match="HF_HOME"):
            load(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk(publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "_save", full)
    with pytest.raises(HubAccessError, match=rf"^{NAME}.*free disk space"):
        load(tmp_path)
    assert is_clean(tmp_path)


# ---- the records ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.sampled("name")
def test_a_record_is_of_a_model_and_a_converter(name: str) -> None:
    published = PUBLISHED[name]
    model = convrnn_zoo.create_model(name, device="meta")  # without a download
    assert model.pretrained_cfg["tag"] == published.tag
    assert published.model_args.items() <= model.model_args.items()
    assert name in convrnn_zoo.list_models(pretrained=True)
    assert name in timm.list_models(pretrained=True)


@pytest.mark.parametrize("name", slow_unless(representatives().__contains__, convrnn_zoo.list_models()))
def test_pretrained_loads_weights_or_names_the_nearest_that_exist(
    name: str, owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(file: HubFile, *args: Any) -> None:
        owners.requests.append(f"hf://{file.repo_id}@{file.revision}/{file.filename}")
        raise HubAccessError("unreachable")

    monkeypatch.setattr(fetch, "download", reject)
    others = [p for p in PUBLISHED.values() if p.architecture == name]
    if any(w.architecture == name for w in WEIGHTS.values()):
        model = convrnn_zoo.create_model(name, pretrained=True, cache_dir=tmp_path)
        assert model.metadata is not None
    elif others:  # whose owner does not answer here
        with pytest.raises(HubAccessError):
            convrnn_zoo.create_model(name, pretrained=True, cache_dir=tmp_path)
        assert owners.requests == [others[0].address]
        assert is_clean(tmp_path)
    else:
        with pytest.raises(WeightsError) as caught:
            convrnn_zoo.create_model(name, pretrained=True, cache_dir=tmp_path)
        assert {*str(caught.value).replace(",", " ").split()} & {*WEIGHTS, *PUBLISHED}


def test_commands_are_those_of_the_converters() -> None:
    for published in PUBLISHED.values():
        source = SOURCES[published.converter]
        assert published.options.keys() <= source.options.keys()
        for option, value in published.options.items():
            if option in source.checks:
                source.checks[option](option, value)
        assert Path(published.file).suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar")
        assert published.address.startswith(("https://", "hf://"))
        assert published.license == published.license.lower()


def test_names_and_fields_are_checked() -> None:
    text = FILE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="two sets"):
        read_published(text + '\n[[group]]\n[group.sets."firenet.evreal"]\naddress = "https://example.org/a.pth"\n')
    with pytest.raises(TypeError, match="colour"):
        read_published(text.replace("remarks = ", "colour = ", 1))
