"""Compares the training speed of offramp and of pytorch_loop.py, alternating on one machine.

    bench/peers/train/compare.py --offramp build/release/offramp [--width 64] [--pairs 3]

Both train the same 3-exits SPP ResNet-18 (exits after blocks 2 and 4) for one epoch of 20 steps of 128 images of
32x32 with random crop and flip; the first step is included. The images are noise, because the time does not
depend on them. Times exclude evaluation and writing files on both sides. "tuned" is the PyTorch loop with
environment variables that make the C library keep freed memory, as offramp does without them. "bare" is the time
of the convolutions alone, with the same allocator settings.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = """
[network]
width = {width}
exits = [2, 4]
head = "spp"
[data]
source = "{data}"
image_size = 32
[train]
epochs = 1
batch = 128
lr = 0.05
precision = "{precision}"
threads = {threads}
loss_weights = [0.2, 0.3, 0.5]
[augment]
crop_padding = 4
flip = true
"""
PER_CLASS = 300  # 12 are for tune and 24 for certify, so 2,640 images remain, which is 20 steps of 128
IMAGES = 20 * 128
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


def write_png(path, pixels):
    """Writes an RGB image of 32x32 pixels without compression."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + pixels[96 * y:96 * (y + 1)] for y in range(32))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


def write_noise(folder):
    random.seed(1)
    for label in range(10):
        images = pathlib.Path(folder, "train", f"class{label}")
        images.mkdir(parents=True)
        for i in range(PER_CLASS):
            write_png(images / f"{i:04}.png", random.randbytes(32 * 32 * 3))


def run_offramp(args):
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder, "recipe.toml")
        recipe.write_text(RECIPE.format(**vars(args)))
        subprocess.run([args.offramp, "train", recipe, "--out", f"{folder}/run"], check=True,
                       stderr=subprocess.DEVNULL)
        line = json.loads(pathlib.Path(folder, "run", "metrics.jsonl").read_text().splitlines()[-1])
        return line["images_per_second"], line["loader_wait"]


def run_peer(args, *flags, environment=None):
    command = [args.python, HERE / "pytorch_loop.py", "--width", args.width, "--threads", args.threads,
               "--precision", args.precision, "--images", IMAGES, *flags]
    result = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE,
                            env={**os.environ, **(environment or {})})
    return float(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offramp", default="build/release/offramp")
    parser.add_argument("--python", default="/usr/bin/python3", help="a python3 that has torch")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        args.data = data
        write_noise(data)
        print(json.dumps(measure(args), indent=2))


def measure(args):
    ours, peers, tuned, waits = [], [], [], []
    for pair in range(args.pairs):
        contenders = ["ours", "peer"] if pair % 2 == 0 else ["peer", "ours"]
        for who in contenders + ["tuned"]:
            if who == "ours":
                speed, wait = run_offramp(args)
                ours.append(speed)
                waits.append(wait)
            elif who == "peer":
                peers.append(run_peer(args))
            else:
                tuned.append(run_peer(args, environment=KEEP_MEMORY))
            print(f"pair {pair + 1} {who}", file=sys.stderr)
    bare = run_peer(args, "--bare", environment=KEEP_MEMORY)
    median = statistics.median
    return {
        "width": args.width, "precision": args.precision, "threads": args.threads, "batch": 128,
        "pairs": args.pairs,
        "offramp_images_per_second": round(median(ours), 1),
        "pytorch_images_per_second": round(median(peers), 1),
        "pytorch_tuned_images_per_second": round(median(tuned), 1),
        "bare_convolutions_images_per_second": round(bare, 1),
        "ratio_to_pytorch": round(median(a / b for a, b in zip(ours, peers)), 3),
        "ratio_to_pytorch_tuned": round(median(a / b for a, b in zip(ours, tuned)), 3),
        "share_of_bare_convolutions": round(median(ours) / bare, 3),
        "loader_wait_share": round(max(waits), 4),
    }


if __name__ == "__main__":
    main()
