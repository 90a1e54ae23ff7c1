"""Runs a step file frame by frame with numpy and onnxruntime: ``python drive.py STEP.onnx FRAMES.npy OUT.npy STEPS``.

Frames are ``(T, N, C, *S)``; after the last, the file reads its previous output.
"""

import sys

import numpy as np
import onnxruntime


def drive(step: str, frames: str, out: str, steps: str) -> None:
    session, x, outputs = onnxruntime.InferenceSession(step), np.load(frames), []
    first, *states = session.get_inputs()
    sizes = dict(zip(first.shape, x[0].shape, strict=True))
    plain = {axis: size for axis, size in sizes.items() if isinstance(axis, str)}
    for n in (2, 4, 8, 16, 32):  # "/" is rounded up, "//" down
        sizes |= {f"{axis}/{n}": -(-size // n) for axis, size in plain.items()}
        sizes |= {f"{axis}//{n}": size // n for axis, size in plain.items()}
    state = {s.name: np.zeros([sizes.get(d, d) for d in s.shape], np.float32) for s in states}
    for t in range(int(steps)):
        y, *new = session.run(None, {"input": x[t] if t < len(x) else outputs[-1], **state})
        state = dict(zip(state, new, strict=True))
        outputs.append(y)
    np.save(out, np.stack(outputs))


if __name__ == "__main__":
    drive(*sys.argv[1:])
    assert "torch" not in sys.modules
