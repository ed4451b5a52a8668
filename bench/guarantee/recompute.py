#!/usr/bin/env python3
"""Computes certificates again, with numpy and scipy instead of the program's own code.

    pip install numpy scipy
    bench/guarantee/recompute.py models/*.safetensors --data data

For each model: `offramp test --part certify --save-logits` gives the logits of its certify images.
From these logits and the policy in the file alone, this script computes where each image stops, what
it answers, how many images are harmed and the Clopper-Pearson bound, for the policy and for each
step of the stored path, and compares all of them with the file. Then it does the same for new
certificates with every ensemble and criterion, which `offramp calibrate` makes for copies of the
model. It works on copies, so nothing is counted in the files, and chooses nothing. Ends with 1 if a
number differs.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from scipy import stats

# What the new certificates are made for: flags of `offramp calibrate`. EPSILON is replaced.
MADE = [
    "",
    "--ensemble mean",
    "--ensemble mean --against ensemble",
    "--ensemble geometric --criterion margin",
    "--ensemble geometric --criterion entropy --against ensemble",
    "--ensemble weighted",
    "--ensemble weighted --criterion entropy --against ensemble",
    "--criterion patience",
    "--label-free",
    "--ensemble mean --label-free",
]


def read_safetensors(path):
    """The tensors of a file that numpy knows the types of, and its metadata."""
    types = {"F32": "<f4", "I64": "<i8", "U64": "<u8", "U8": "u1"}
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, one in header.items():
        if one["dtype"] in types:
            begin, end = one["data_offsets"]
            raw = np.frombuffer(data[8 + size + begin : 8 + size + end], types[one["dtype"]])
            tensors[name] = raw.reshape(one["shape"])
    return tensors, metadata


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def probabilities(policy, logits):
    """[K, N, classes] what each exit answers with, under the policy's temperatures and ensemble."""
    temperatures = np.array(policy["temperatures"])[:, None, None]
    p = softmax(logits.astype(np.float64) / temperatures)
    kind = policy["ensemble"]
    if kind == "off":
        return p
    exits = len(p)
    weights = np.array(policy["ensemble_weights"]) if kind == "weighted" else np.ones(exits)
    total = np.cumsum(weights)[:, None, None]
    if kind == "geometric":
        return softmax(np.cumsum(np.log(p), 0) / total)
    return np.cumsum(p * weights[:, None, None], 0) / total


def scores(policy, p):
    """[K, N] the score of each exit; a larger one is more confident."""
    criterion = policy["criterion"]
    if criterion == "confidence":
        return p.max(-1)
    if criterion == "margin":
        ordered = np.sort(p, -1)
        return ordered[..., -1] - ordered[..., -2]
    if criterion == "entropy":
        return 1 - stats.entropy(p, axis=-1) / np.log(p.shape[-1])
    answers = p.argmax(-1)  # patience: how many exits up to this one agree in a row
    agreeing = np.ones(answers.shape)
    for k in range(1, len(answers)):
        agreeing[k] = np.where(answers[k] == answers[k - 1], agreeing[k - 1] + 1, 1)
    return agreeing


class Certified:
    """The images of a certificate, with all exits' logits."""

    def __init__(self, path, model, tensors):
        saved, self.metadata = read_safetensors(path)
        # Exact copies of an image count once.
        hashes, first = np.unique(saved["hashes"], return_index=True)
        first.sort()
        self.logits = saved["logits"][:, first]
        self.labels = saved["labels"][first]
        certify = np.unique(tensors["provenance.certify"])
        expect(model, "certify images that the file lists", np.isin(hashes, certify).sum(), len(certify))
        for part in ("train", "tune"):
            both = np.intersect1d(certify, tensors[f"provenance.{part}"])
            expect(model, f"certify images that are in {part}", len(both), 0)

    def count(self, policy, thresholds, guarantee):
        """The number of images that the policy harms, or answers differently from the reference."""
        p = probabilities(policy, self.logits)
        score = scores(policy, p).astype(np.float32)
        least = np.array([np.inf if t is None else t for t in thresholds], np.float32)
        stops = np.vstack([score[:-1] >= least[:, None], np.ones((1, len(self.labels)), bool)])
        exit_index = stops.argmax(0)
        answer = p.argmax(-1)[exit_index, np.arange(len(self.labels))]
        against = guarantee.get("against", "last_exit")
        reference = (p if against == "ensemble" else self.logits)[-1].argmax(-1)
        if guarantee["of"] == "disagreement":
            return int((answer != reference).sum())
        return int(((reference == self.labels) & (answer != self.labels)).sum())


failed = False


def expect(place, what, ours, theirs, tolerance=0.0):
    global failed
    if abs(float(ours) - float(theirs)) > tolerance:
        failed = True
        print(f"{place}: {what}: {ours} here, {theirs} in the file")


def check(name, model, images):
    """Compares the certificate in a file with what this script computes; prints a row."""
    _, metadata = read_safetensors(model)
    policy = json.loads(metadata["policy"])
    given = policy["guarantee"]
    if given is None:
        print(f"| {name} | nothing was certified | | | | |")
        return
    n, epsilon, level = given["images"], given["epsilon"], given["level"]
    counted = images.count(policy, policy["thresholds"], given)
    bound = stats.beta.ppf(1 - level, counted + 1, n - counted)
    attempt = int(metadata["certificates"])
    expect(name, "images", len(images.labels), n)
    expect(name, "counted", counted, given["counted"])
    expect(name, "upper_bound", bound, given["upper_bound"], 1e-12)
    of_attempt = 0.9 * given["delta"] * 0.1 ** (attempt - 1)
    disagreement = given.get("disagreement")  # not in files of earlier programs
    expect(name, "level", of_attempt if disagreement is None else 0.98 * of_attempt, level, 1e-12)
    if disagreement is not None:
        others = {**given, "of": "disagreement"}
        different = images.count(policy, policy["thresholds"], others)
        expect(name, "disagreement.counted", different, disagreement["counted"])
        expect(name, "disagreement.upper_bound",
               stats.beta.ppf(1 - disagreement["level"], different + 1, n - different),
               disagreement["upper_bound"], 1e-9)
        expect(name, "disagreement.level", disagreement["level"] <= 0.02 * of_attempt, True)
    expect(name, "bound at most epsilon", bound <= epsilon, True)
    steps = policy.get("path", {"steps": []})["steps"]
    for m, step in enumerate(steps):
        here = images.count(policy, step["thresholds"], given)
        passes = stats.binom.cdf(here, n, epsilon) <= level
        expect(f"{name}: path.steps[{m}]", "counted", here, step["counted"])
        if disagreement is not None:
            expect(f"{name}: path.steps[{m}]", "disagreed",
                   images.count(policy, step["thresholds"], others), step["disagreed"])
        expect(f"{name}: path.steps[{m}]", "passes", passes, m <= policy["path"]["chosen"])
    print(f"| {name} | {given['of']}, {given.get('against', 'last_exit').replace('_', ' ')} | {epsilon:g} | {level:g} "
          f"| {counted} of {n} | {100 * bound:.4f} | {len(steps)} |")


def run(arguments, **more):
    ended = subprocess.run([str(one) for one in arguments], stdout=subprocess.DEVNULL, check=False, **more)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: ended with {ended.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--data", required=True, help="the data set that the models were certified on")
    parser.add_argument("--epsilon", default="0.04", help="of the new certificates")
    parser.add_argument("--offramp", default="build/release/offramp", type=pathlib.Path)
    flags = parser.parse_args()
    program = flags.offramp.resolve()
    print("| certificate | of, against | ε | level | counted | bound, % | steps |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in flags.models:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            copy, logits, made = folder / "copy.safetensors", folder / "logits", folder / "made.safetensors"
            shutil.copy(model, copy)
            run([program, "test", copy, "--data", flags.data, "--part", "certify", "--save-logits", logits],
                stderr=subprocess.DEVNULL)
            images = Certified(logits, model, read_safetensors(model)[0])
            kernels = images.metadata["kernels"]
            check(f"`{model.name}` as it is", model, images)
            for options in MADE:
                shutil.copy(model, copy)
                run([program, "calibrate", copy, "--data", flags.data, "--guarantee", flags.epsilon, *options.split(),
                     "--out", made])
                check(f"`{model.name}` {options or 'again'}", made, images)
                os.remove(made)
            print(f"\n{model}: {images.metadata['precision']}, {kernels}\n")
    print("Some numbers differ." if failed else "All numbers are equal.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
