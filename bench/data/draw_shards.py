#!/usr/bin/env python3
"""Draws a packed data set in shards: simple shapes of 10 classes in noise.

It is for measuring how data larger than memory are handled, and needs memory for one chunk of
images only. The same arguments give the same bytes.

  draw_shards.py FOLDER [--images 1000000] [--side 64] [--per-shard 8192] [--test 0.02]
"""

import argparse
import hashlib
import json
import pathlib
import struct

import numpy

CLASSES = [f"shape{i}" for i in range(10)]
CHUNK = 1024  # images that are drawn together


def draw(labels, side, random):
    """Returns images [N, side, side, 3] uint8 of the labels [N]: a bar pattern or a ring whose
    frequency and direction depend on the class, of random colour, place and contrast, in noise."""
    count = len(labels)
    rows, columns = numpy.mgrid[0:side, 0:side].astype(numpy.float32) / side
    place = random.uniform(0.3, 0.7, (2, count, 1, 1)).astype(numpy.float32)
    x, y = columns - place[0], rows - place[1]
    turn = (labels % 5 * numpy.pi / 5).astype(numpy.float32)[:, None, None]
    bars = numpy.sin(24 * (x * numpy.cos(turn) + y * numpy.sin(turn)))
    rings = numpy.sin((12 + 5 * (labels % 5))[:, None, None] * numpy.sqrt(x * x + y * y) * 2)
    wave = numpy.where((labels < 5)[:, None, None], bars, rings)
    contrast = random.uniform(20, 60, (count, 1, 1, 3)).astype(numpy.float32)
    base = random.uniform(80, 175, (count, 1, 1, 3)).astype(numpy.float32)
    noise = random.standard_normal((count, side, side, 1), dtype=numpy.float32) * 12
    return numpy.clip(base + wave[..., None] * contrast + noise, 0, 255).astype(numpy.uint8)


def image_hash(image):
    """Returns the hash of offramp: the first 64 bits of SHA-256 of width, height and pixels."""
    height, width, _ = image.shape
    digest = hashlib.sha256(struct.pack("<II", width, height) + image.tobytes()).digest()
    return int.from_bytes(digest[:8], "big")


def texts(values):
    return numpy.frombuffer(b"".join(value.encode() + b"\0" for value in values), numpy.uint8)


def part_tensors(part, count, first, side, random):
    """Returns the tensors of one part of a shard, by name."""
    labels = (first + numpy.arange(count)) % len(CLASSES)
    pixels = numpy.empty((count, side, side, 3), numpy.uint8)
    for begin in range(0, count, CHUNK):
        pixels[begin : begin + CHUNK] = draw(labels[begin : begin + CHUNK], side, random)
    sizes = [side] * 4 if count else [0] * 4
    return {
        f"{part}.pixels": pixels,
        f"{part}.labels": labels.astype(numpy.int64),
        f"{part}.hashes": numpy.array([image_hash(image) for image in pixels], numpy.uint64),
        f"{part}.names": texts(f"{part}/{first + i:08}" for i in range(count)),
        f"{part}.skipped": texts([]),
        f"{part}.sizes": numpy.array(sizes, numpy.int64),
    }


def write_safetensors(path, tensors, metadata):
    kinds = {"uint8": "U8", "int64": "I64", "uint64": "U64"}
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header, end = {"__metadata__": metadata}, 0
    for name in order:
        array = tensors[name]
        header[name] = {
            "dtype": kinds[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=1_000_000, help="of both parts")
    parser.add_argument("--side", type=int, default=64, help="in pixels")
    parser.add_argument("--per-shard", type=int, default=8192, help="images of one file")
    parser.add_argument("--test", type=float, default=0.02, help="share of the test part")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shards = -(-options.images // options.per_shard)
    trained = tested = 0
    for shard in range(shards):
        random = numpy.random.default_rng([1, shard])
        count = min(options.per_shard, options.images - shard * options.per_shard)
        test = round(count * options.test)
        tensors = {"classes": texts(CLASSES)}
        tensors |= part_tensors("train", count - test, trained, options.side, random)
        tensors |= part_tensors("test", test, tested, options.side, random)
        trained += count - test
        tested += test
        path = options.folder / f"drawn-{shard:05}-of-{shards:05}.offramp"
        write_safetensors(path, tensors, {"format": "offramp-data 1", "source": "drawn patterns"})
    print(f"{options.folder}: {trained} training and {tested} test images in {shards} shards")


if __name__ == "__main__":
    main()
