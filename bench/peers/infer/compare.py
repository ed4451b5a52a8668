#!/usr/bin/env python3
"""Compares the inference speed of offramp, OpenVINO, ONNX Runtime and PyTorch, alternating on one machine.

    bench/peers/infer/compare.py --prepare FOLDER       installs the peers by name in this folder
    bench/peers/infer/compare.py --peers-folder FOLDER --offramp build/release/offramp

The network is the plain ResNet-18 (cifar stem, 64 wide, 32x32) with random weights, or with those of --model, a
ResNet-18 without early exits. --adaptive adds a model with early exits and a policy that is run on the images of
--data; the other contenders run the plain network. Times exclude decoding for all contenders. --offramp is a command
and may be given several times, to time builds with different libraries beside each other.

Two splits of the threads are compared: one stream with all threads, and one stream per thread. Rounds go through all
contenders forwards and backwards, and figures are medians over the rounds. Peers run both splits in full, and the
faster one counts. offramp tries both for as long as peers warm up and times the faster one; its figure is the median of
the rounds at the split that was timed most often.

Before anything is timed, the answers of every contender are compared with those of offramp in f32, and its own profile
of an executed batch must show as many convolutions in the precision as the network has (int8: all but at most one).
A peer that cannot be had or fails a check is reported as missing, with the reason. The int8 models have
quantise/dequantise pairs in two variants: all tensors quantised (a), and without the convolutions' results that are
only read by an addition (b); the faster one counts. f32, bf16: OpenVINO's hint of precision; ONNX Runtime computes f32;
PyTorch: torch.compile with frozen weights, and autocast. With --model, the accuracy of the adaptive network on the
timed images may be at most 0.5 percentage points below that of the plain network in f32.
"""

import argparse
import json
import os
import pathlib
import shlex
import sys
import tempfile

import contenders as c

RECIPE = c.HERE.parents[2] / "configs" / "original" / "plain.toml"
PEERS = ["openvino f32", "openvino bf16", "openvino int8", "onnxruntime f32", "onnxruntime int8", "torch f32",
         "torch bf16"]
CONVOLUTIONS = 20

# Contender of offramp, its peers, the ratio that is asked for, and the aim.
TARGETS = [
    ("plain f32", [p for p in PEERS if p.endswith("f32")], 0.95, 1.1),
    ("plain bf16", [p for p in PEERS if p.endswith("bf16")], 1.0, 1.1),
    ("plain int8", [p for p in PEERS if p.endswith("int8")], 1.0, 1.15),
    ("adaptive int8", [p for p in PEERS if p.endswith("int8")], 2.2, 2.8),
]
TWO_THREADS = 1.25  # asked of one image on two threads over one thread, int8
LOSS = 0.005  # largest loss of accuracy of the adaptive network against the plain one in f32


def on_data(args):
    return ["--data", args.data] + (["--images", args.images] if args.images else [])


def prepare_files(args, files):
    """Writes the network and its images in every contender's format.

    Returns the logits of offramp in f32, and the differences of its other precisions from them.
    """
    import numpy
    import resnet
    c.run_json([*args.offramp[0], "bench", args.model or RECIPE, "--keep", files, "--batch", 1, "--precision",
                ",".join(args.precisions), "--mode", "plain", "--images", 64, "--seconds", 0.01, "--json"])
    answers = resnet.read_safetensors(files / "answers.safetensors")
    weights = resnet.read_safetensors(files / "model.safetensors")
    shape = answers["images"].shape[1:]
    numpy.save(files / "images.npy", answers["images"])
    ranges = resnet.observe_ranges(weights, answers["images"])
    for batch in args.batches:
        resnet.write_onnx(weights, files / f"f32-{batch}.onnx", batch, shape)
        resnet.write_onnx(weights, files / f"int8-{batch}-a.onnx", batch, shape, ranges)
        resnet.write_onnx(weights, files / f"int8-{batch}-b.onnx", batch, shape, ranges, sums_in_f32=True)
    expected = answers["logits"][-1]
    errors = {p: c.difference(answers["logits." + p][-1], expected) for p in args.precisions if p != "f32"}
    for precision, error in errors.items():
        if error > c.TOLERANCE[precision]:
            raise SystemExit(f"offramp {precision}: answers differ by {error:.2g} of the largest logit")
    return expected, errors


def peer_models(name, batch, files):
    engine, precision = name.split()
    if engine == "torch":
        return {"": files / "model.safetensors"}
    if precision == "int8":
        return {variant: files / f"int8-{batch}-{variant}.onnx" for variant in "ab"}
    return {"": files / f"f32-{batch}.onnx"}


def our_contenders(args, files, errors, batch):
    """Those of the first --offramp have the names of the targets; the others' names have a number."""
    for number, offramp in enumerate(args.offramp, 1):
        suffix = "" if number == 1 else f" ({number})"
        random_images = ["--images", 64 if batch == 1 else 4 * batch]
        for precision in args.precisions:
            yield c.Ours(offramp, f"plain {precision}{suffix}", files / "model.safetensors", "plain", precision, batch,
                         args.threads, random_images, errors.get(precision))
        if batch == 1 and "int8" in args.precisions:
            yield c.Ours(offramp, f"plain int8, 1 thread{suffix}", files / "model.safetensors", "plain", "int8", 1, 1,
                         random_images, errors["int8"])
        if args.adaptive:
            yield c.Ours(offramp, f"adaptive int8{suffix}", args.adaptive, "adaptive", "int8", batch, args.threads,
                         on_data(args))


def print_two_threads(rows):
    rates = {r["contender"]: r["splits"] for r in rows if r["batch"] == 1}
    for name, splits in rates.items():
        one = rates.get(name.replace("plain int8", "plain int8, 1 thread"), {}).get("1x1")
        if one and "1x2" in splits:
            print(f"{name}, one image on two threads over one: {splits['1x2'] / one:.2f}, at least {TWO_THREADS}")


def print_loss(rows, plain_accuracy):
    for r in rows:
        if r["contender"].startswith("adaptive"):
            loss = plain_accuracy - r["accuracy"]
            print(f"{r['contender']}, batch {r['batch']}: loses {100 * loss:+.2f} points of accuracy against the plain "
                  f"network's {plain_accuracy:.2%}{'' if loss <= LOSS else ', too many: its ratio DOES NOT COUNT'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=pathlib.Path, metavar="FOLDER", help="install the peers there, and end")
    parser.add_argument("--peers-folder", type=pathlib.Path, help="the folder that --prepare made")
    parser.add_argument("--offramp", action="append", type=shlex.split, help="the program, or a command that starts it")
    parser.add_argument("--model", help="plain ResNet-18 model file; default: random weights, 64 wide")
    parser.add_argument("--adaptive", help="model file with early exits and a policy")
    parser.add_argument("--data", help="test images, for --adaptive")
    parser.add_argument("--images", type=int, help="number of images of --data")
    parser.add_argument("--precisions", nargs="+", help="of offramp; default: all that this CPU has instructions for")
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds per contender, split and round")
    parser.add_argument("--json", help="write the result to this file")
    args = parser.parse_args()
    if args.prepare:
        return c.prepare(args.prepare)
    if not args.peers_folder or not args.offramp:
        parser.error("--peers-folder and --offramp are needed, or --prepare")
    if args.adaptive and not args.data:
        parser.error("--adaptive needs --data")
    c.use_python_of(args.peers_folder)
    args.precisions = args.precisions or [m["precision"] for m in
                                          c.run_json([*args.offramp[0], "bench", "--ceiling", "--json"])]
    # Code that PyTorch compiles is kept beside it for the next run.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(args.peers_folder / "compiled"))

    plain_accuracy, all_contenders, missing = None, [], {}
    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder)
        expected, errors = prepare_files(args, files)
        if args.adaptive and args.model:
            plain_accuracy = c.run_json([*args.offramp[0], "bench", args.model, "--mode", "plain", "--precision", "f32",
                                         "--batch", 32, "--threads", args.threads, "--seconds", 0.01, "--json",
                                         *on_data(args)])[0]["accuracy"]
        for batch in args.batches:
            all_contenders += our_contenders(args, files, errors, batch)
            for name in args.peers:
                # One convolution may stay in f32: the first, whose input has no ReLU before it.
                needed = CONVOLUTIONS - (1 if name.endswith("int8") else 0)
                try:
                    all_contenders.append(c.Peer(name, batch, args.threads, peer_models(name, batch, files), files,
                                                 expected, needed))
                except c.Missing as reason:
                    missing[f"{name}, batch {batch}"] = str(reason)
        rows = c.run_in_turns(all_contenders, args.rounds, args.seconds)
        for contender in all_contenders:
            contender.stop()
    c.print_rows(rows, missing)
    print()
    targets = c.print_targets(rows, TARGETS)
    print_two_threads(rows)
    if plain_accuracy is not None:
        print_loss(rows, plain_accuracy)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(
            {"rows": rows, "missing": missing, "plain_accuracy": plain_accuracy, "targets": targets}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
