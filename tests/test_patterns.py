"""Regular expressions take linear time, since they read the content of untrusted files and names in them."""

import ast
import importlib
import itertools
import re
import time
from pathlib import Path

import pytest

import convrnn_zoo
from convrnn_zoo.values.labels.times import decode_time

xarray = pytest.importorskip("xarray", reason="the extra netcdf")

PACKAGE = Path(convrnn_zoo.__file__).parent
BOUNDED = {
    "units.py": 100,
    "times.py": 100,
    "dgmr.py": 256,
    "keras.py": 256,
    "irene.py": 256,
    "kimmel.py": 256,
    "ndrplz.py": 256,
    "openstl.py": 256,
    "pytorch_convolutional_rnn.py": 256,
    "rvm.py": 256,
    "torch.py": 256,
    "torchgeo.py": 256,
}
"""Modules whose functions bound the length of the text, and its bound. Names of tensors have at most 256 characters."""
UNBOUNDED = 4_000
PIECES = (
    " ", "\n", "a", "1", "/", ".", "-", "_", "+", "#", "#\n", "1.", "1 ", "1-", "a.", "a/", "a_", "mm ", "=", "(", "\\",
    "seed_generator/", "conv_lstm_cell/", "kernel/", "forward_", "cell_list.1.", "e1", ":a:`", "``", '"', "T", ",",
)  # fmt: skip
STARTS = ("", "mm", "mm h", "P5 ", "GEO=1", "2020-01-01", "1", "sha256 of the weights", "x.y", "Args:\n ", "    a: ")
USES = {"match", "search", "fullmatch", "sub", "findall", "split", "finditer"}


def find_patterns():
    """Yields the file, the pattern and the method of every call with a pattern that is constant."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and ast.unparse(node.func.value) == "re" and isinstance(node.args[0], ast.Constant):
                method = node.func.attr if node.func.attr in USES else "fullmatch"
                yield file, node.args[0].value, method
            is_key = isinstance(node, ast.keyword) and node.arg == "key" and "interop" in file.parts
            if is_key and isinstance(node.value, ast.Constant):
                yield file, f"(?P<prefix>.*?){node.value.value}", "fullmatch"
        module = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if file.name != "__main__.py":
            for value in vars(importlib.import_module(module)).values():
                if isinstance(value, re.Pattern):
                    yield file, value.pattern, "fullmatch"


def test_patterns_take_linear_time():
    patterns = sorted({(file.name, pattern, method) for file, pattern, method in find_patterns()}, key=repr)
    assert len(patterns) > 25
    assert {"units.py", "times.py", "radar.py", "keras.py"} <= {file for file, _, _ in patterns}
    for file, pattern, method in patterns:
        length = BOUNDED.get(file, UNBOUNDED)
        begin = time.process_time()
        for start, piece in itertools.product(STARTS, PIECES):
            for text in (start + piece * (length // len(piece)), start + " " * (length // 2) + piece * (length // 2)):
                for end in ("!", "\n"):
                    content = text[: length - 1] + end
                    content = content.encode() if isinstance(pattern, bytes) else content
                    getattr(re, method)(*((pattern, "x", content) if method == "sub" else (pattern, content)))
            assert time.process_time() - begin < 1, (file, pattern, start, piece)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["2020-01-01" + " " * 10**6 + "!", "2020-01-01" + "T" * 10**6, "1" * 10**6])
def test_long_times_are_rejected_at_once(text):
    for values, attrs in (([text], {}), ([0], {"units": f"days since {text}"}), ([0], {"units": text})):
        with pytest.raises(ValueError, match="expected") as error:
            decode_time(xarray.Variable("time", values, attrs))
        assert len(str(error.value)) < 200
