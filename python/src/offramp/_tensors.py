"""Tensors of model files."""

from __future__ import annotations

import json
import pathlib
import struct

import numpy as np

from ._core import Error

_DTYPES = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "BF16": np.uint16, "I8": np.int8,
    "U8": np.uint8, "I32": np.int32, "I64": np.int64, "U64": np.uint64,
}  # fmt: skip


def read_tensors(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, by name. Those of BF16 are given as their 16 bits."""
    data = pathlib.Path(path).read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", data)
        tensors = {}
        for name, of in json.loads(data[8 : 8 + size]).items():
            if name == "__metadata__" or of["dtype"] not in _DTYPES:
                continue
            first, last = of["data_offsets"]
            values = np.frombuffer(data[8 + size + first : 8 + size + last], _DTYPES[of["dtype"]])
            tensors[name] = values.reshape(of["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Error(f"{path}: not a model file: {error}") from None
    return tensors
