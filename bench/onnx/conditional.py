"""Compares a model in the conditional form, run by ONNX Runtime, with offramp and with its own
segments.

usage: conditional.py OFFRAMP MODEL IMAGES [--precision f32|int8] [--images N] [--timed N]
  OFFRAMP   the program
  MODEL     a model file with a policy and at least 2 exits
  IMAGES    a folder of images, in any depth, of the size of the model (CIFAR-10: cifar10-images/test)
  --images  how many images to compare (0, the default: all), evenly from the sorted paths
  --timed   how many of them to time (default: 200)

Equality: class and exit of each image, in ONNX Runtime and by `offramp classify`. Images that
differ are listed with the distance of the nearest score to its threshold. In f32, each must be
within 1e-5; in int8 the share of equal images is the result.

Time: each image runs in the conditional model and, right after it, through the segments up to its
exit, which are models of their own, cut out of the form all-exits. Both on 1 thread. The ratio of
the two sums must be at most 1.15, for all images and for those of each exit.

Needs onnx, onnxruntime and Pillow (pip install onnx onnxruntime pillow).
"""
import argparse
import collections
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnx.utils
import onnxruntime
from PIL import Image

NEAR_THRESHOLD = 1e-5
MAX_RATIO = 1.15
BATCH = 500


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def metadata(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return {key: json.loads(text) if text.startswith(("{", "[")) else text
            for key, text in json.loads(raw[8:8 + length])["__metadata__"].items()}


def load(path, shape):
    """Returns the pixels [1, C, H, W] of an image in [0, 1]."""
    image = Image.open(path).convert("L" if shape[0] == 1 else "RGB")
    if (image.height, image.width) != tuple(shape[1:]):
        sys.exit(f"{path}: {image.width}x{image.height}, but the model is for "
                 f"{shape[2]}x{shape[1]}")
    pixels = np.asarray(image, np.float32).reshape(shape[1], shape[2], shape[0])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))[None] / np.float32(255)


def classify(program, model, precision, paths, folder):
    """Returns (class, exit) of each image by offramp, from files that lose nothing."""
    answers = []
    classes = {name: i for i, name in enumerate(metadata(model)["classes"])}
    for begin in range(0, len(paths), BATCH):
        files = []
        for i, path in enumerate(paths[begin:begin + BATCH]):
            files.append(folder / f"{i:06}.png")
            Image.open(path).save(files[-1])
        done = subprocess.run([program, "classify", model, *files, "--json", "--threads", "1",
                               "--precision", precision], capture_output=True, text=True,
                              check=True)
        lines = {line["image"]: line for line in map(json.loads, done.stdout.splitlines())}
        answers += [(classes[lines[str(f)]["class"]], lines[str(f)]["exit"]) for f in files]
    return answers


def score(policy, probabilities, agreeing):
    ordered = np.sort(probabilities)
    if policy["criterion"] == "confidence":
        return ordered[-1]
    if policy["criterion"] == "margin":
        return ordered[-1] - ordered[-2]
    if policy["criterion"] == "patience":
        return agreeing
    p = np.maximum(ordered, np.finfo(np.float32).tiny)
    return 1 + np.sum(ordered * np.log(p)) / np.log(len(p))


def nearest_threshold(policy, logits):
    """Returns the smallest distance of a score to its threshold for the logits [K, classes]."""
    total, weights, agreeing, answer, nearest = 0, 0, 0, None, np.inf
    ensemble = policy["ensemble"]
    for k, threshold in enumerate(policy["thresholds"]):
        z = logits[k].astype(np.float64) / policy["temperatures"][k]
        own = z - z.max() - np.log(np.sum(np.exp(z - z.max())))
        weight = policy["ensemble_weights"][k] if ensemble == "weighted" else 1
        total = total + weight * (own if ensemble == "geometric" else np.exp(own))
        weights += weight
        p = np.exp(own) if ensemble == "off" else total / weights
        if ensemble == "geometric":
            p = np.exp(p - p.max()) / np.sum(np.exp(p - p.max()))
        agreeing = agreeing + 1 if p.argmax() == answer else 1
        answer = p.argmax()
        if threshold is not None:
            nearest = min(nearest, abs(score(policy, p, agreeing) - threshold))
    return nearest


def compare(arguments, policy, conditional, all_exits, paths, shape, folder):
    """Prints how many images have the same class and exit. @return whether that is enough"""
    ours = classify(arguments.program, arguments.model, arguments.precision, paths, folder)
    differ = []
    for path, expected in zip(paths, ours):
        image = load(path, shape)
        answer, stop = conditional.run(["class", "exit"], {"image": image})
        if (int(answer[0]), int(stop[0])) != expected:
            (logits,) = all_exits.run(None, {"image": image})
            distance = nearest_threshold(policy, logits[:, 0])
            differ.append(distance)
            print(f"  {path}: class {answer[0]} at exit {stop[0]}, by offramp {expected[0]} at "
                  f"exit {expected[1]}; a score is {distance:.1e} from its threshold")
    exits = collections.Counter(stop for _, stop in ours)
    print(f"{len(paths)} images, exits "
          f"{', '.join(f'{k}: {exits[k]}' for k in sorted(exits))}; {len(paths) - len(differ)} "
          f"have the same class and exit ({1 - len(differ) / len(paths):.4%}), "
          f"{sum(d > NEAR_THRESHOLD for d in differ)} differ away from a threshold")
    return arguments.precision == "int8" or all(d <= NEAR_THRESHOLD for d in differ)


def cut_segments(model, all_exits, folder):
    """Cuts the form all-exits into a model for each segment with its head.

    @return [(session, inputs, outputs, whether there is a head)]"""
    names = {value for node in onnx.load(str(all_exits)).graph.node for value in node.output}
    segments, given = [], ["image"]
    described = metadata(model)["graph"]["segments"]
    for i, segment in enumerate(described):
        # An 8-bit tensor is passed on in 8 bits.
        passed = [name + "/integers" if name + "/integers" in names else name
                  for name in segment["outputs"]]
        wanted = [] if i + 1 == len(described) else list(passed)
        if segment["head"]:
            wanted.append(segment["head"][-1]["name"])
        path = folder / f"segment_{i}.onnx"
        onnx.utils.extract_model(str(all_exits), str(path), given, wanted)
        segments.append((session(path), given, wanted, bool(segment["head"])))
        given = passed
    return segments


def run_segments(segments, image, stop):
    values, heads = {"image": image}, 0
    for model, inputs, outputs, has_head in segments:
        results = model.run(outputs, {name: values[name] for name in inputs})
        values = dict(zip(outputs, results))
        heads += has_head
        if heads == stop:
            return


def measure(conditional, segments, paths, shape):
    """Prints the time of the conditional model relative to its segments. @return whether it is
    at most MAX_RATIO"""
    images = [load(path, shape) for path in paths]
    stops = [int(conditional.run(["exit"], {"image": image})[0][0]) for image in images]
    times = collections.defaultdict(list)
    for image, stop in zip(images[:5], stops):
        run_segments(segments, image, stop)
    for image, stop in zip(images, stops):
        # The faster of two rounds: a pause of the machine should not decide.
        whole, parts = [], []
        for _ in range(2):
            start = time.perf_counter()
            conditional.run(["class", "exit"], {"image": image})
            middle = time.perf_counter()
            run_segments(segments, image, stop)
            whole.append(middle - start)
            parts.append(time.perf_counter() - middle)
        times[stop].append((min(whole), min(parts)))
    for stop in sorted(times):
        whole, parts = np.sum(times[stop], axis=0)
        print(f"exit {stop}: {len(times[stop])} images, {1e3 * whole / len(times[stop]):.3f} ms, "
              f"{whole / parts:.2f} times the segments")
    whole, parts = np.sum([pair for pairs in times.values() for pair in pairs], axis=0)
    print(f"all: {1e3 * whole / len(paths):.3f} ms, {whole / parts:.2f} times the segments (at most "
          f"{MAX_RATIO} is asked for)")
    return whole / parts <= MAX_RATIO


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("images_folder", type=pathlib.Path)
    parser.add_argument("--precision", choices=("f32", "int8"), default="f32")
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--timed", type=int, default=200)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.images_folder.rglob("*")
                   if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if 0 < arguments.images < len(paths):
        paths = [paths[i * len(paths) // arguments.images] for i in range(arguments.images)]
    information = metadata(arguments.model)
    shape = information["graph"]["input"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for form in ("conditional", "all-exits"):
            subprocess.run([arguments.program, "export", arguments.model, "-o",
                            folder / f"{form}.onnx", "--form", form, "--precision",
                            arguments.precision], check=True, stdout=subprocess.DEVNULL)
        conditional = session(folder / "conditional.onnx")
        equal = compare(arguments, information["policy"], conditional,
                        session(folder / "all-exits.onnx"), paths, shape, folder)
        step = max(1, len(paths) // max(1, arguments.timed))
        segments = cut_segments(arguments.model, folder / "all-exits.onnx", folder)
        fast = measure(conditional, segments, paths[::step][:arguments.timed], shape)
    sys.exit(0 if equal and fast else 1)


main()
