"""The schema of Triton's model configuration, as the client of the server publishes it."""

import importlib.util
from pathlib import Path

import pytest


def published_schema():
    """Returns the module with the messages of ``model_config.proto``; skips the test without ``tritonclient``."""
    package = pytest.importorskip("tritonclient", reason="pip install tritonclient")
    file = Path(package.__path__[0], "grpc", "model_config_pb2.py")  # its package imports grpc
    spec = importlib.util.spec_from_file_location("triton_model_config_pb2", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
