"""Training speed: offramp against the PyTorch loop beside this file, alternating, on one machine.

    bench/peers/train/compare.py --offramp build/release/offramp [--width 64] [--pairs 3]

Both train the same 3-exits SPP ResNet-18 (exits after blocks 2 and 4) for one epoch of 7,040 images of 32x32
with random crop and flip, batch 128, the first step included; offramp on its synthetic images (8,000
less tune and certify), the peer on random ones: the time does not depend on them. Evaluation and files are
left out on both sides. "tuned" is the peer with the C library told to keep freed memory, as
offramp does by itself. "bare" is the time of the convolutions alone, with the same allocator settings.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
RECIPE = """
[network]
width = {width}
exits = [2, 4]
head = "spp"
[data]
source = "synthetic"
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
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


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
               "--precision", args.precision, *flags]
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
    parser.add_argument("--no-tuned", action="store_true", help="leave out the peer with a tuned allocator")
    args = parser.parse_args()

    ours, peers, tuned, waits = [], [], [], []
    for pair in range(args.pairs):
        contenders = ["ours", "peer"] if pair % 2 == 0 else ["peer", "ours"]
        for who in contenders + ([] if args.no_tuned else ["tuned"]):
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
    result = {
        "width": args.width, "precision": args.precision, "threads": args.threads, "batch": 128,
        "pairs": args.pairs,
        "offramp_images_per_second": round(median(ours), 1),
        "pytorch_images_per_second": round(median(peers), 1),
        "pytorch_tuned_images_per_second": round(median(tuned), 1) if tuned else None,
        "bare_convolutions_images_per_second": round(bare, 1),
        "ratio_to_pytorch": round(median(a / b for a, b in zip(ours, peers)), 3),
        "ratio_to_pytorch_tuned": round(median(a / b for a, b in zip(ours, tuned)), 3) if tuned else None,
        "share_of_bare_convolutions": round(median(ours) / bare, 3),
        "loader_wait_share": round(max(waits), 4),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
