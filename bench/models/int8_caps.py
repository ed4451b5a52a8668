#!/usr/bin/env python3
"""Checks that int8 logits are equal to the bit under every instruction-set cap of oneDNN.

    bench/models/int8_caps.py models/cifar10-3-exits.safetensors --data data

Runs `offramp test` once for each cap in processes of their own and compares the saved logits of all
test images. A certificate that names the arithmetic assumes that they are equal. Caps that this CPU
lacks are named; at least two must be left. Ends with 1 if a logit differs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

CAPS = ["AVX2_VNNI", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_AMX"]


def read_logits(path):
    """The bytes of the tensor "logits" of a safetensors file, and the file's metadata."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    begin, end = header["logits"]["data_offsets"]
    return data[8 + size + begin : 8 + size + end], header["__metadata__"]


def run(flags, model, cap, folder):
    out = pathlib.Path(folder) / f"{cap}.safetensors"
    command = [flags.offramp, "test", model, "--data", flags.data, "--precision", "int8", "--save-logits", str(out)]
    ended = subprocess.run(
        command, env={**os.environ, "ONEDNN_MAX_CPU_ISA": cap}, stdout=subprocess.DEVNULL, check=False
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)}: ended with {ended.returncode}")
    return read_logits(out)


def follows(flags, cap):
    """Whether oneDNN uses the instruction set of the cap, and not a smaller one or none of its name."""
    command = [flags.offramp, "--version"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": cap}
    version = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return version.split()[-1] == cap.lower()


def differing(ours, theirs):
    return sum(ours[i : i + 4] != theirs[i : i + 4] for i in range(0, len(ours), 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--offramp", default="build/release/offramp")
    flags = parser.parse_args()
    failed = False
    for model in flags.models:
        results = {}
        with tempfile.TemporaryDirectory() as folder:
            for cap in CAPS:
                if not follows(flags, cap):
                    print(f"{model}: {cap}: skipped, this CPU or this version of oneDNN does not have it")
                    continue
                logits, metadata = run(flags, model, cap, folder)
                results[metadata["kernels"]] = logits
        if len(results) < 2:
            print(f"{model}: nothing to compare: this CPU has fewer than two of the instruction sets")
            failed = True
            continue
        (first, ours), *others = results.items()
        for kernels, theirs in others:
            count = differing(ours, theirs)
            failed |= count > 0
            print(f"{model}: {kernels} against {first}: {count} of {len(ours) // 4} logits differ")
    sys.exit(1 if failed else 0)


main()
