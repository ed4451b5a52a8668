#!/usr/bin/env python3
"""Kills a small training at random moments and resumes it, again and again.

    bench/robustness/kill_training.py --program build/release/offramp-train --kills 1000

Each life of the training is ended by SIGKILL after a random time, until the run is complete; then
another run begins. After every kill each model file of the run must be whole, each complete line of
metrics.jsonl must stay, and no step that a checkpoint held may be lost. After the last life of a run
its files must equal those of a run that nobody killed, to the bit. Only times differ.

The script needs only Python's standard library. It exits with status 1 at the first difference and
keeps the folder of that run.
"""
import argparse
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

RECIPE = """
[network]
backbone = "resnet18"
stem = "cifar"
width = 4
exits = [2]

[data]
source = "{source}"

[train]
epochs = 3
batch = 16
lr = 0.05
ema = 0.9
threads = 1
checkpoint_every = 0.0005

[augment]
flip = true
crop_padding = 2
"""
# Three values of the tensor run_state are times.
RUN_STATE_TIMES = (1, 5, 6)
MODELS = ("checkpoint", "last", "ema", "best", "model")
TIMES = {"seconds", "images_per_second", "loader_wait"}


def write_images(folder, seed):
    """Writes 30 training and 4 test images of two classes as PNG, 32x32 pixels of noise."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rng = random.Random(seed)
    for part, count in (("train", 30), ("test", 4)):
        for label, name in enumerate(("dark", "light")):
            place = folder / part / name
            place.mkdir(parents=True)
            for i in range(count):
                rows = b"".join(bytes([0, *(rng.randrange(160) + 90 * label for _ in range(96))])
                                for _ in range(32))
                header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
                (place / f"{i}.png").write_bytes(
                    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) +
                    chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def read_model(path):
    """Returns (metadata without times, bytes of the tensors) of a file that must be whole."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__", {})
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + length + end != len(content):
        raise ValueError(f"{path}: {len(content)} bytes, expected {8 + length + end}")
    metadata = {key: without_times(json.loads(text)) if text[:1] in "{[" else text
                for key, text in metadata.items()}
    tensors = {name: (entry["dtype"], entry["shape"],
                      content[8 + length + entry["data_offsets"][0]:
                              8 + length + entry["data_offsets"][1]])
               for name, entry in header.items()}
    if "run_state" in tensors:
        dtype, shape, data = tensors["run_state"]
        words = [data[i:i + 8] for i in range(0, len(data), 8)]
        tensors["run_state"] = (dtype, shape, [word for i, word in enumerate(words)
                                               if i not in RUN_STATE_TIMES])
    return metadata, tensors


def epochs_of(run):
    """Returns the epochs in metrics.jsonl; a last line without its end is left out."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [without_times(json.loads(line)) for line in lines]


def step_of(run):
    path = run / "checkpoint.safetensors"
    if not path.exists():
        return -1
    details = read_model(path)[0].get("provenance", {}).get("details", {})
    return details.get("step", 0)


def whole_files(run):
    return {name: read_model(run / f"{name}.safetensors")
            for name in MODELS if (run / f"{name}.safetensors").exists()}


def differences(run, reference):
    found = []
    got, expected = whole_files(run), whole_files(reference)
    if got.keys() != expected.keys():
        found.append(f"files: {sorted(got)}, expected {sorted(expected)}")
    for name in got.keys() & expected.keys():
        for kind, mine, theirs in zip(("metadata", "tensors"), got[name], expected[name]):
            keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            if keys:
                found.append(f"{name}: {kind} {sorted(keys)[:5]} differ")
    if epochs_of(run) != epochs_of(reference):
        found.append("metrics.jsonl differs")
    left = sorted(path.name for path in run.iterdir() if path not in set(reference_paths(run)))
    return found + ([f"left over: {left}"] if left else [])


def reference_paths(run):
    names = [f"{name}.safetensors" for name in MODELS]
    return [run / name for name in [*names, "config.toml", "metrics.jsonl", "lock", ".lock"]]


class Training:
    def __init__(self, program, recipe, run):
        self.program, self.recipe, self.run = program, recipe, run

    def command(self):
        train = [self.program]
        if pathlib.Path(self.program).name == "offramp":
            train.append("train")
        if (self.run / "checkpoint.safetensors").exists():
            return [*train, "--resume", "--out", self.run]
        if self.run.exists():
            shutil.rmtree(self.run)  # killed before its first checkpoint: there is nothing to lose
        return [*train, self.recipe, "--out", self.run]

    def live(self, seconds):
        """Runs the training for so long. Returns whether it was killed."""
        process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        if process.returncode != 0:
            raise RuntimeError(f"{self.run}: status {process.returncode}: {errors.strip()}")
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True, help="offramp, or offramp-train")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=0, help="end after so long; 0: never")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    work = pathlib.Path(tempfile.mkdtemp(prefix="kill-training-"))
    write_images(work / "images", options.seed)
    recipe = work / "recipe.toml"
    recipe.write_text(RECIPE.format(source=work / "images"))

    began = time.monotonic()
    reference = work / "reference"
    if Training(options.program, recipe, reference).live(None):
        raise AssertionError
    whole = time.monotonic() - began
    kills = runs = 0
    ends = time.monotonic() + 60 * options.minutes
    while kills < options.kills and not (options.minutes and time.monotonic() > ends):
        training = Training(options.program, recipe, work / f"run{runs}")
        step, epochs = -1, []
        while kills < options.kills and training.live(rng.uniform(0, 1.2 * whole)):
            kills += 1
            whole_files(training.run)
            now, so_far = step_of(training.run), epochs_of(training.run)
            if now < step or so_far[:len(epochs)] != epochs[:len(so_far)]:
                print(f"kill {kills}: {training.run}: step {step} became {now}, "
                      f"{len(epochs)} epochs became {len(so_far)}")
                return 1
            step, epochs = now, so_far
        else:
            if training.live(None):  # the last life, if the kills are used up
                raise AssertionError
        found = differences(training.run, reference)
        if found:
            print(f"run {runs + 1}, after {kills} kills: {training.run}: " + "; ".join(found))
            return 1
        shutil.rmtree(training.run)
        runs += 1
        print(f"{kills} kills, {runs} runs complete and equal to the bit", flush=True)
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
