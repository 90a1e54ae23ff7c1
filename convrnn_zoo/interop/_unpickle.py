"""Reads the tensors of a file of ``torch.save`` without running its code, as a program with a process of its own.

``python -P _unpickle.py FILE OUT`` writes the tensors to the safetensors file OUT. In the metadata of OUT, ``content``
is the file's content in JSON: a list of pairs of a key and a value, in which tensors are numbered.

torch's restricted unpickler reads the file. Classes and functions that it does not know, such as those of a trainer,
are replaced by classes without any code. In a process of its own, no other thread can use these, and the caller's
``torch.serialization.add_safe_globals`` has no effect on the file. This program imports nothing else of the package.
"""

import json
import mmap
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Names under which training scripts store the weights, next to an optimizer and an epoch."""
MAX_INFLATION = 8
"""Maximum size of a file's tensors, as a multiple of the file size. Tied weights are stored once."""
MAX_NAMES = 1_000
"""Maximum number of unknown classes and functions in a file."""
RUN_CODE = re.compile(r"(builtins|_?io)\.(__import__|breakpoint|compile|eval|exec|input|open)")
"""Functions that no trainer stores in a checkpoint."""


class ContentError(Exception):
    """The file contains no weights, or weights that are larger than it."""


class Inert:
    """Replaces an unknown class or function. It ignores all arguments and stores nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def inert_class(name: str, container: type | None = None) -> type:
    """Returns an inert class with a name; if `container` is set, its constructor returns an empty container."""
    module, _, short = name.rpartition(".")
    members: dict[str, Any] = {"__module__": module}
    if container is not None:
        members["__new__"] = lambda cls, *args, **kwargs: container()
    return type(short, (Inert,), members)


def load(path: Path) -> Any:
    """Returns the content of a file, with instances of inert classes for objects of unknown classes."""
    is_zip = zipfile.is_zipfile(path)  # older files are a sequence of pickles
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it has compressed members")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members are larger than the file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"\nbytearray\n") >= 0:  # which allocates as many bytes as the pickle claims
            raise ValueError("it contains a bytearray")
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zip else []
    classes = {name: inert_class(name) for name in names}
    torch.serialization.clear_safe_globals()
    for _ in range(2 * MAX_NAMES):
        if attacks := [name for name in classes if RUN_CODE.fullmatch(name)]:
            raise ValueError(f"it calls {attacks[0]}")
        with torch.serialization.safe_globals([(cls, name) for name, cls in classes.items()]):
            try:
                # A mapped file cannot claim storages that it does not contain.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
            except Exception as e:  # an UnpicklingError, whose module is not imported
                if not replace_class(classes, str(e)) or len(classes) > MAX_NAMES:
                    raise
    raise ValueError("it has too many classes")


def replace_class(classes: dict[str, type], message: str) -> bool:
    """Adds or changes the inert class that an error of torch's unpickler requires; returns whether it did.

    The error names a class or function that is unknown, or an inert object that is used as a dict or a list.
    """
    if unknown := re.search(r"GLOBAL (\S+) was not an allowed global", message):
        name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
        if name not in classes:
            classes[name] = inert_class(name)
            return True
    container = re.search(r"Can only (SETITEM|append|extend).* got <class '(.+)'>", message)
    if container and container[2] in classes:
        # An OrderedDict may also receive attributes.
        classes[container[2]] = inert_class(container[2], OrderedDict if container[1] == "SETITEM" else list)
        return True
    return False


def type_name(value: Any) -> str:
    """Returns the type of a value for a message, and that of a tensor which has no dense values."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    kinds = {"meta": value.is_meta, "quantized": value.is_quantized, "nested": value.is_nested}
    return next((f"{kind} tensor" for kind, holds in kinds.items() if holds), f"tensor of {value.layout}")


def describe(content: Mapping[Any, Any], tensors: dict[str, Tensor]) -> list[Any]:
    """Returns a mapping as a list of pairs, and adds its tensors to `tensors`.

    A value is ``{"tensor": N}``, ``{"mapping": [...]}`` for the weights within a checkpoint, or ``{"type": NAME}``. A
    key that is no string is described by its type.
    """
    pairs = []
    for key, value in content.items():
        if not isinstance(key, str):
            pairs.append([repr(key)[:80], {"type": f"under a key of type {type(key).__name__}"}])
        elif isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_meta or value.is_quantized):
            pairs.append([key, {"tensor": len(tensors)}])
            tensors[str(len(tensors))] = value.detach()
        elif isinstance(value, Mapping) and key in WRAPPERS:
            pairs.append([key, {"mapping": describe(value, tensors)}])
        else:
            pairs.append([key, {"type": type_name(value)}])
    return pairs


def reason(error: Exception) -> str:
    """Returns the reason of an error in one line. The rest of torch's message advises to run the code in the file."""
    if unsupported := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it asks for {unsupported[1]}"
    lines = str(error).partition("WeightsUnpickler error:")[2].split("\n") + str(error).split("\n")
    return next((line.strip()[:200] for line in lines if line.strip()), type(error).__name__)


def main(path: Path, output: Path) -> None:
    content = load(path)
    if not isinstance(content, Mapping):
        raise ContentError(f"contains a {type(content).__name__}, not a state dict; save model.state_dict()")
    tensors: dict[str, Tensor] = {}
    described = json.dumps(describe(content, tensors))
    if sum(value.nbytes for value in tensors.values()) > MAX_INFLATION * path.stat().st_size:
        raise ContentError(f"has tensors that are over {MAX_INFLATION} times as large as the file; it is damaged")
    plain = {key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    try:
        safetensors.torch.save_file(plain, output, {"content": described})
    except Exception as e:
        raise ContentError(f"cannot be read: {e}; free disk space in {output.parent.parent}, or set TMPDIR") from e


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except ContentError as e:
        sys.exit(f"CONTENT {e}")
    except Exception as e:  # torch raises almost any exception on a damaged pickle
        sys.exit(f"DAMAGED {reason(e)}")
