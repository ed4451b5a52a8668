#!/usr/bin/env python3
"""Compares the speed of torchvision's networks, imported by offramp, with other engines on one machine.

    bench/peers/infer/compare.py --prepare PEERS               installs the peers by name
    python3 bench/onnx/imported_networks.py --prepare FOLDER --offramp build/release/offramp
    python3 bench/onnx/imported_networks.py FOLDER --peers-folder PEERS --offramp build/release/offramp

--prepare needs PyTorch and torchvision (packages-test.txt) and Pillow. It draws a data set of 10 classes and, for
each network (--networks), weights as torchvision_models.py does; it exports them with torch.onnx.export, imports them,
and quantises them with `offramp quantize` on the drawn images.

Then offramp runs the network in f32, bf16 and int8; peers run the exported file in f32 (OpenVINO also in bf16) and two
int8 files, of which the faster one counts: `offramp export --form plain --precision int8` (offramp), and
onnxruntime.quantization.quantize_static with the same images (static; weights by channel). Answers and profiles are
compared first, and contenders take turns, as in bench/peers/infer/compare.py. A test image of the drawn data is one
image; 1 and 32 at a time; times exclude decoding. Ratios below 0.9 are MISSED; the aim is 1.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peers" / "infer")]
import contenders as c  # noqa: E402

NETWORKS = ["resnet50", "mobilenet_v3_large", "efficientnet_b0"]
SIZE, CLASSES, TRAIN_IMAGES, TEST_IMAGES = 224, 10, 25, 4
KEPT = 32  # images whose answers are compared
# Random weights are more sensitive to rounding than trained ones.
TOLERANCE = {"f32": 1e-3, "bf16": 0.2, "int8": 0.8}
PEERS = ["onnxruntime f32", "onnxruntime int8", "openvino f32", "openvino bf16", "openvino int8"]
TARGETS = [(f"plain {p}", [f"onnxruntime {p}"], 0.9, 1.0) for p in ("f32", "int8")] + \
          [(f"plain {p}", [f"openvino {p}"], least, 1.1) for p, least in (("f32", 0.95), ("bf16", 1.0), ("int8", 1.0))]


# Preparation, with Debian's PyTorch.

def draw_image(random):
    """Returns coloured noise of several coarsenesses [H, W, 3] in [0, 255]."""
    import numpy
    image = numpy.zeros((SIZE, SIZE, 3))
    for cells in (4, 14, 56):
        coarse = random.normal(size=(cells, cells, 3))
        image += numpy.kron(coarse, numpy.ones((SIZE // cells, SIZE // cells, 1)))
    return numpy.clip(128 + 40 * image, 0, 255).astype(numpy.uint8)


def draw_data(folder):
    import numpy
    from PIL import Image
    random = numpy.random.default_rng(1)
    for label in range(CLASSES):
        for part, count in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
            place = folder / part / f"class {label}"
            place.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(draw_image(random)).save(place / f"{i}.jpg")


def settle_on_images(network):
    """Batch statistics of drawn images, so that activations neither vanish nor explode on such images."""
    import numpy
    import torch
    from torchvision_models import settle
    random = numpy.random.default_rng(2)
    images = numpy.stack([draw_image(random) for _ in range(8)]).transpose(0, 3, 1, 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    settle(network, SIZE, images=torch.from_numpy(images / 255).float())


def prepare(args):
    import torchvision_models
    args.prepare.mkdir(parents=True, exist_ok=True)
    data = args.prepare / "data"
    if not data.exists():
        draw_data(data)
    labels = args.prepare / "labels.txt"
    labels.write_text("".join(f"class {label}\n" for label in range(CLASSES)))
    for name in args.networks:
        file = {end: args.prepare / f"{name}{end}" for end in (".onnx", ".safetensors", ".int8.safetensors",
                                                               ".offramp.onnx")}
        network = torchvision_models.build(name, SIZE, num_classes=CLASSES)
        settle_on_images(network)
        torchvision_models.export(network, file[".onnx"], SIZE, *torchvision_models.DEFAULT)
        for flags in (["import", file[".onnx"], "-o", file[".safetensors"], "--mean", "0,0,0", "--std", "1,1,1",
                       "--labels", labels, "--data", data],
                      ["quantize", file[".safetensors"], "--data", data, "--images", args.images],
                      ["export", file[".int8.safetensors"], "-o", file[".offramp.onnx"], "--form", "plain"]):
            subprocess.run([str(one) for one in (*args.offramp, *flags)], check=True)


# The comparison, with the peers' Python.

def write_fixed(path, batch, out):
    """Writes an ONNX file for a fixed batch, and without a normalisation that changes nothing."""
    import onnx
    model = onnx.load(path)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    if graph.node[0].op_type == "Sub" and graph.node[1].op_type == "Div":
        centred, scaled = graph.node[0], graph.node[1]
        for node in graph.node:
            node.input[:] = [centred.input[0] if one == scaled.output[0] else one for one in node.input]
        graph.node.remove(scaled)
        graph.node.remove(centred)
    del graph.value_info[:]
    onnx.save(model, out)


def quantise_statically(path, out, images):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.images = iter(images)

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else {"image": image[None]}
    quant_pre_process(str(path), str(out) + ".pre", skip_symbolic_shape=True)
    quantize_static(str(out) + ".pre", str(out), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def count_convolutions(path):
    import onnx
    return sum(node.op_type == "Conv" for node in onnx.load(path).graph.node)


def run_network(args, name, batch, files):
    """@return rows and what is missing"""
    import numpy
    import resnet
    network, int8 = args.folder / f"{name}.safetensors", args.folder / f"{name}.int8.safetensors"
    data = ["--data", args.folder / "data", "--images", KEPT]
    answers = {}
    for model, precision in ((network, "f32"), (network, "bf16"), (int8, "int8")):
        kept = files / precision
        c.run_json([*args.offramp, "bench", model, "--keep", kept, "--batch", 1, "--precision", precision,
                    "--mode", "plain", "--seconds", 0.01, "--json", *data])
        tensors = resnet.read_safetensors(kept / "answers.safetensors")
        answers[precision] = tensors["logits" if precision == "f32" else f"logits.{precision}"][-1]
    images, expected = tensors["images"], answers["f32"]
    numpy.save(files / "images.npy", images)
    convolutions = count_convolutions(args.folder / f"{name}.onnx")
    static = args.folder / f"{name}.static.onnx"
    if not static.exists():
        quantise_statically(args.folder / f"{name}.onnx", static, images)
    fixed = {}
    for label in ("", ".offramp", ".static"):
        fixed[label] = files / f"{name}{label}.{batch}.onnx"
        write_fixed(args.folder / f"{name}{label}.onnx", batch, fixed[label])
    everyone, missing = [], {}
    for precision in ("f32", "bf16", "int8"):
        error = None if precision == "f32" else c.difference(answers[precision], expected)
        model = int8 if precision == "int8" else network
        everyone.append(c.Ours(args.offramp, f"plain {precision}", model, "plain", precision, batch, args.threads,
                               data, error))
    if batch == 1:
        everyone.append(c.Ours(args.offramp, "plain int8, 1 thread", int8, "plain", "int8", 1, 1, data, error))
    for peer in args.peers:
        int8_files = {label: fixed[label] for label in (".offramp", ".static")}
        models = int8_files if peer.endswith("int8") else {"": fixed[""]}
        try:
            everyone.append(c.Peer(peer, batch, args.threads, models, files, expected,
                                   convolutions // 2 if peer.endswith("int8") else convolutions, TOLERANCE))
        except c.Missing as reason:
            missing[peer] = str(reason)
    rows = c.run_in_turns(everyone, args.rounds, args.seconds)
    for contender in everyone:
        contender.stop()
    return rows, missing, convolutions


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", help="the folder that --prepare made")
    parser.add_argument("--prepare", type=pathlib.Path, metavar="FOLDER", help="make the networks there, and end")
    parser.add_argument("--peers-folder", type=pathlib.Path)
    parser.add_argument("--offramp", type=shlex.split, required=True, help="the program, or a command that starts it")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--images", type=int, default=64, help="images that `offramp quantize` observes ranges on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per contender, split and round")
    parser.add_argument("--json", help="write the result to this file")
    args = parser.parse_args()
    if args.prepare:
        return prepare(args)
    if not args.folder or not args.peers_folder:
        parser.error("FOLDER and --peers-folder are needed, or --prepare")
    c.use_python_of(args.peers_folder)
    import tempfile
    results = []
    for name in args.networks:
        for batch in args.batches:
            with tempfile.TemporaryDirectory() as folder:
                rows, missing, convolutions = run_network(args, name, batch, pathlib.Path(folder))
            print(f"\n{name}, batch {batch}, {convolutions} convolutions")
            c.print_rows(rows, missing)
            results.append({"network": name, "batch": batch, "rows": rows, "missing": missing,
                            "targets": c.print_targets(rows, TARGETS)})
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
