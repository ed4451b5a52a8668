"""The program that was built beside the package, and data that it reads."""

import json
import os
import pathlib
import struct

import numpy as np
import pytest
from conftest import make_images

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find():
    """The path of the program; the test is skipped where it was not built. OFFRAMP_PROGRAM names
    another one."""
    given = os.environ.get("OFFRAMP_PROGRAM")
    places = [given] if given else [ROOT / "build" / name / "offramp" for name in ("dev", "release")]
    for place in places:
        if os.access(place, os.X_OK):
            return str(place)
    pytest.skip("the program offramp was not built")


def find_with_training():
    """The same, where training was built too."""
    program = find()
    if not os.access(program + "-train", os.X_OK):
        pytest.skip("offramp-train was not built")
    return program


def write_image_folder(folder, classes, each, seed=0):
    """A data set: FOLDER/train/CLASS/NUMBER.png and FOLDER/test/CLASS/NUMBER.png."""
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        for index, name in enumerate(classes):
            place = folder / part / name
            place.mkdir(parents=True)
            seed += 1
            for number, pixels in enumerate(make_images(each, seed)):
                pixels = pixels.copy()
                pixels[:8, :8] = 40 * index  # what tells the classes apart
                image.fromarray(pixels).save(place / f"{number:03}.png")
    return folder


def read_tensors(path):
    """The tensors of a safetensors file of f32 and i64."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, of in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__" or of["dtype"] not in ("F32", "I64"):
            continue
        first, last = of["data_offsets"]
        kind = np.float32 if of["dtype"] == "F32" else np.int64
        tensors[name] = np.frombuffer(data[8 + size + first : 8 + size + last], kind).reshape(
            of["shape"]
        )
    return tensors
