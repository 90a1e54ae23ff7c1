"""The real huggingface_hub client, in this process and in others, against a small Hub on loopback."""

import os
import socket
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

import convrnn_zoo
from tests.helpers.hub.client import KEEPS_PARTS, MAJOR, close_session
from tests.helpers.hub.examples import files, make
from tests.helpers.hub.loaders import BIG, REPO
from tests.helpers.hub.server import Hub

ROOT = Path(convrnn_zoo.__file__).parents[1]
OLD_CALL = "Use 'content=<...>' to upload raw bytes/text content."  # huggingface_hub's values, of its HTTP client


def pytest_collection_modifyitems(items):
    here = f"{Path(__file__).parent}{os.sep}"
    for item in items:  # of all folders
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.filterwarnings(f"ignore:{OLD_CALL}:DeprecationWarning"))
            if MAJOR < 1:  # requests leaves a connection that was cut off to the garbage collector
                ignored = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """A test that would talk to anyone else fails."""
    connect = socket.socket.connect

    def checked(self, address):
        assert isinstance(address, str | bytes) or address[0] in ("127.0.0.1", "::1"), f"traffic to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Shortens the wait between attempts."""
    monkeypatch.setattr(convrnn_zoo.pretrained.download, "_WAIT", 0.01)


@pytest.fixture
def settings(tmp_path):
    """The client's settings for a home of its values, by the names of its environment variables."""
    home = tmp_path / "hf"
    return {
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def hub(settings, monkeypatch):
    """A Hub that the client in this process uses, as alice."""
    server = Hub()
    # The client reads its settings once, on import; here it is other tests' as well, so its constants change.
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    values = {name: True if value == "1" else value for name, value in settings.items()}
    for name, value in {**values, "ENDPOINT": server.url, "HUGGINGFACE_CO_URL_TEMPLATE": template}.items():
        for module in (constants, file_download):  # below 1.0, the latter holds a copy of some
            if module is constants or hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", server.url)  # made on import: timm's pushes go through it
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    close_session()
    disable_progress_bars()
    yield server
    enable_progress_bars()
    close_session()
    server.close()


@pytest.fixture
def saved(tmp_path):
    return files(make(**BIG), tmp_path / "saved")


@pytest.fixture
def repo(hub, saved):
    return hub.store.create(REPO, saved)


@pytest.fixture
def cache(hub, settings):
    return Path(settings["HF_HUB_CACHE"])


@pytest.fixture
def offline(monkeypatch):
    """Switches offline mode on, as HF_HUB_OFFLINE=1 does."""

    def switch(on=True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", on)
        close_session()  # below 1.0, a session is made on- or offline

    return switch


@pytest.fixture
def environment(hub, settings):
    """The environment in which another process uses the same Hub and cache."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE_"))}
    return {
        **variables,
        **settings,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_alice",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        # Of the client, of its store's newest part with an old client, and of torch 2.6 as a process ends.
        "PYTHONWARNINGS": f"error,ignore:{OLD_CALL}:DeprecationWarning,ignore:hf_xet.:DeprecationWarning,"
        "ignore:Implicitly cleaning up:ResourceWarning",
    }


def tree(path: Path) -> dict[str, bytes]:
    """Returns the content of every file under a directory, except for locks and partial downloads."""
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if p.is_file() and ".locks" not in p.parts and p.name != "CACHEDIR.TAG" and "refs" not in p.parts
        if not (KEEPS_PARTS and p.suffix == ".incomplete")
    }
