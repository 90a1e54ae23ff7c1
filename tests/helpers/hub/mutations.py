"""Files of weights with something changed: bytes, the length, offsets, dtypes, shapes, keys, payload."""

import json
import random
import struct
from collections.abc import Iterator

DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F4", "C64", "", "f32", None, 7]
NUMBERS = [0, 1, -1, 2, 2**31, 2**32, 2**53, 2**63 - 1, 2**64 - 1, 2**64, -(2**63), 1.5, None, "1", [], True]


def split(content: bytes) -> tuple[dict, bytes]:
    """The header and the payload."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, payload: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


def flip(content, chance):
    out = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    return bytes(out)


def flip_header(content, chance):
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return flip(content[:end], chance) + content[end:]


def flip_payload(content, chance):
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return content[:end] + flip(content[end:], chance)


def change_length(content, chance):
    header, payload = split(content)
    real = len(json.dumps(header))
    return join(header, payload, chance.choice([0, 1, real - 1, real + 1, real + 8, 2**20, 2**31, 2**63, 2**64 - 1]))


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def extend(content, chance):
    return content + chance.randbytes(chance.choice([1, 4, 8, 100]))


def insert(content, chance):
    at = chance.randrange(len(content))
    return content[:at] + chance.randbytes(chance.choice([1, 4])) + content[at:]


def _entry(header, chance):
    return header[chance.choice([k for k in header if k != "__metadata__"])]


def change_offsets(content, chance):
    header, payload = split(content)
    offsets = _entry(header, chance)["data_offsets"]
    if chance.random() < 0.3:
        other = _entry(header, chance)["data_offsets"]  # overlap, or the values of another
        offsets[:], other[:] = list(other), list(offsets)
    else:
        at = chance.randrange(2)
        offsets[at] = chance.choice([*NUMBERS, offsets[at] + 4, offsets[at] - 4])
    return join(header, payload)


def change_dtype(content, chance):
    header, payload = split(content)
    entry = _entry(header, chance)
    entry["dtype"] = chance.choice(DTYPES)
    if chance.random() < 0.3 and entry["shape"]:
        entry["shape"][-1] *= 2
    return join(header, payload)


def change_shape(content, chance):
    header, payload = split(content)
    shape = _entry(header, chance)["shape"]
    act = chance.randrange(4)
    if act == 0:
        shape[chance.randrange(len(shape))] = chance.choice(NUMBERS)
    elif act == 1:
        shape.reverse()
    elif act == 2:
        shape.append(1)
    else:
        shape[:] = [2**32, 2**32]  # whose product is 0 in 64 bits
    return join(header, payload)


def change_keys(content, chance):
    header, payload = split(content)
    key = chance.choice([k for k in header if k != "__metadata__"])
    act = chance.randrange(6)
    if act == 0:
        del header[key]
    elif act == 1:
        header[chance.choice(["", "x" * 10_000, "../x", "é\u0000", key.upper()])] = header.pop(key)
    elif act == 2:
        header["more"] = header[key]
    elif act == 3:
        header[key] = chance.choice([None, [], {}, 3, "x", {"dtype": "F32"}])
    elif act == 4:
        header["__metadata__"] = chance.choice([None, [], {"a": 1}, {"a": "b" * 10_000}, 3])
    else:
        other = chance.choice([k for k in header if k != "__metadata__"])
        header[key], header[other] = header[other], header[key]
    return join(header, payload)


def change_text(content, chance):
    header, payload = split(content)
    text = json.dumps(header).encode()
    return join(
        chance.choice([b"", b"{}", b"[]", b"null", b"{" * 50_000, text * 2, text[:-1], b" " + text, text + b"  "]),
        payload,
    )


def special_values(content, chance):
    header, payload = split(content)
    at = chance.randrange(len(payload) // 4) * 4
    value = chance.choice([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3e38])
    return join(header, payload[:at] + struct.pack("<f", value) + payload[at + 4 :])


MUTATIONS = (
    flip,
    flip_header,
    flip_payload,
    change_length,
    cut,
    extend,
    insert,
    change_offsets,
    change_dtype,
    change_shape,
    change_keys,
    change_text,
    special_values,
)


def mutated(content: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many changed files, the mutations taking turns, some of them twice over."""
    chance = random.Random(seed)
    for i in range(count):
        mutate = MUTATIONS[i % len(MUTATIONS)]
        out = mutate(content, chance)
        if chance.random() < 0.2 and len(out) > 8:
            out = flip(out, chance)
        yield mutate.__name__, out
