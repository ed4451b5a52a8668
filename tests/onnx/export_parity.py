"""Checks the ONNX files that offramp writes with onnx's checker and shape inference, and runs them in
ONNX Runtime: logits of all exits, and class and exit of the conditional form.

usage: export_parity.py PROGRAM     (PROGRAM is built from export_parity.cpp)
Exit status 77 means skipped: no onnx or onnxruntime here (pip install onnx onnxruntime).
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as error:
    print(f"skipped: {error}; install onnx and onnxruntime from PyPI to run this test")
    sys.exit(77)

LOGITS_TOLERANCE = 1e-5  # of max|a - b| / max|b|; f32 sums of some 1,000 terms
NEAR_THRESHOLD = 1e-5    # where the rounding of a score may decide
DTYPES = {"F32": np.float32, "I64": np.int64}


def read_safetensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = np.frombuffer(raw[8 + length + begin:8 + length + end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def session(path):
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def difference(ours, theirs):
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def check(name, folder):
    expected = read_safetensors(folder / f"{name}.safetensors")
    images = expected["images"]
    (logits,) = session(folder / f"{name}.all-exits.onnx").run(None, {"image": images})
    (last,) = session(folder / f"{name}.plain.onnx").run(None, {"image": images})
    for what, error in (("all exits", difference(logits, expected["logits"])),
                        ("plain", difference(last, expected["logits"][-1]))):
        if not error <= LOGITS_TOLERANCE:
            sys.exit(f"{name}, {what}: the logits differ by {error:.1e}")
    conditional = session(folder / f"{name}.conditional.onnx")
    near = 0
    for i in range(len(images)):
        p, answer, stop = conditional.run(["probabilities", "class", "exit"],
                                          {"image": images[i:i + 1]})
        if abs(p.sum() - 1) > 1e-5:
            sys.exit(f"{name}, image {i}: the probabilities have the sum {p.sum()}")
        if (answer[0], stop[0]) == (expected["class"][i], expected["exit"][i]):
            continue
        if expected["nearest"][i] > NEAR_THRESHOLD:
            sys.exit(f"{name}, image {i}: class {answer[0]} at exit {stop[0]}, expected "
                     f"{expected['class'][i]} at {expected['exit'][i]}")
        near += 1
    print(f"{name}: exits {np.bincount(expected['exit'])[1:]}, logits differ by "
          f"{difference(logits, expected['logits']):.1e}, {near} images at a threshold")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([sys.argv[1], folder], check=True)
        names = sorted(path.name.removesuffix(".safetensors")
                       for path in folder.glob("*.safetensors"))
        for name in names:
            check(name, folder)
        print(f"{len(names)} models")


if __name__ == "__main__":
    main()
