"""Writes a model file of a tiny network with three exits, random weights and a policy."""

import json
import struct

import numpy as np

CLASSES = ["cat", "dog", "frog", "ship", "truck"]


def _conv(name, source, channels, kernel, stride):
    return {
        "name": name, "op": "conv", "inputs": [source], "out_channels": channels,
        "kernel": kernel, "stride": stride, "padding": 0, "groups": 1, "bias": True,
    }  # fmt: skip


def _head(prefix, source):
    pool = {"name": f"{prefix}pool", "op": "global_avg_pool", "inputs": [source]}
    linear = {
        "name": f"{prefix}fc", "op": "linear", "inputs": [f"{prefix}pool"],
        "out_features": len(CLASSES), "bias": True,
    }  # fmt: skip
    return [pool, linear]


def graph():
    segments = []
    source = "input"
    for k, (channels, kernel, stride) in enumerate([(8, 4, 4), (16, 2, 2), (16, 2, 2)], start=1):
        relu = {"name": f"relu{k}", "op": "relu", "inputs": [f"conv{k}"]}
        segments.append(
            {
                "name": f"block{k}",
                "nodes": [_conv(f"conv{k}", source, channels, kernel, stride), relu],
                "outputs": [relu["name"]] if k < 3 else [],
                "feature": relu["name"],
                "head": _head(f"exits.{k}." if k < 3 else "", relu["name"]),
            }
        )
        source = relu["name"]
    return {"name": "tiny", "input": [3, 32, 32], "classes": len(CLASSES), "segments": segments}


def weights(seed=0):
    random = np.random.default_rng(seed)
    tensors = {}
    channels = 3
    for k, (out, kernel) in enumerate([(8, 4), (16, 2), (16, 2)], start=1):
        shape = (out, channels, kernel, kernel)
        scale = (2 / np.prod(shape[1:])) ** 0.5
        tensors[f"conv{k}.weight"] = random.normal(size=shape) * scale
        tensors[f"conv{k}.bias"] = random.normal(size=out) * 0.1
        prefix = f"exits.{k}." if k < 3 else ""
        tensors[f"{prefix}fc.weight"] = random.normal(size=(len(CLASSES), out))
        tensors[f"{prefix}fc.bias"] = random.normal(size=len(CLASSES)) * 0.1
        channels = out
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def write(path, *, kernels="libtorch cpu", shares=(0.5, 0.3, 0.2), certified=True):
    """Writes the file; `kernels` is the code that the certify images' logits were computed with."""
    guarantee = {
        "of": "harm", "epsilon": 0.02, "delta": 0.05, "level": 0.045, "images": 4000,
        "counted": 63, "upper_bound": 0.0195, "precision": "f32", "kernels": kernels,
    }  # fmt: skip
    steps = [
        {"thresholds": [None, None], "counted": 0, "accuracy": 0.9, "relative_cost": 1.1},
        {"thresholds": [0.9, 0.9], "counted": 40, "accuracy": 0.89, "relative_cost": 0.8},
        {"thresholds": [0.5, 0.5], "counted": 63, "accuracy": 0.88, "relative_cost": 0.6},
        {"thresholds": [0.4, 0.4], "counted": 90, "accuracy": 0.85, "relative_cost": 0.5},
    ]
    policy = {
        "criterion": "confidence", "thresholds": [0.5, 0.5], "temperatures": [1, 1, 1],
        "ensemble": "off", "ensemble_weights": [], "aim": None,
        "guarantee": guarantee if certified else None,
        "seen": {"images": 2000, "shares": list(shares)},
    }  # fmt: skip
    if certified:
        policy["path"] = {"chosen": 2, "steps": steps}
    texts = {
        "format_version": 2,
        "requires": [],
        "graph": graph(),
        "classes": CLASSES,
        "preprocessing": {
            "height": 32, "width": 32, "fit": "squeeze", "mean": [0.5] * 3, "std": [0.25] * 3,
        },
        "provenance": {"source": "none", "loss_weights": [0.3, 0.3, 0.4], "details": {}},
        "policy": policy,
    }  # fmt: skip
    header = {"__metadata__": {key: json.dumps(value) for key, value in texts.items()}}
    data = b""
    tensors = dict(weights())
    hashes = {f"provenance.{part}": np.zeros(0, np.uint64) for part in ("train", "tune", "certify")}
    for name, value in {**hashes, **tensors}.items():
        kind = "U64" if value.dtype == np.uint64 else "F32"
        raw = value.tobytes()
        header[name] = {
            "dtype": kind, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)],
        }  # fmt: skip
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
