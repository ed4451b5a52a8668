"""Imports torchvision's classification networks, as torch.onnx.export writes them, and compares
the logits with PyTorch's.

usage: torchvision_models.py PROGRAM [NAME…] [--sample] [--page]
  PROGRAM   built from tests/onnx/import_logits.cpp
  NAME      names of torchvision.models; none: all of them, the smallest first
  --sample  the networks of the test, one or two for each family
  --page    write each result into the table of docs/torchvision-networks.md
Exit status 77 means skipped: no PyTorch or torchvision here (packages-test.txt).
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import torch
    import torchvision
except ImportError as error:
    print(f"skipped: {error}; install the packages of packages-test.txt to run this test")
    sys.exit(77)

TOLERANCE = 1e-4  # of max|a - b| / max|b|

# Each with an opset and whether batch norms stay separate, so that the sample covers the ways in
# which networks are exported.
SAMPLE = {
    "resnet18": (9, True),
    "resnext50_32x4d": (13, False),
    "squeezenet1_1": (11, False),
    "densenet121": (12, True),
    "googlenet": (13, False),
    "shufflenet_v2_x0_5": (13, True),
    "mobilenet_v2": (10, False),
    "mobilenet_v3_small": (14, True),
    "mnasnet0_5": (13, False),
    "efficientnet_b0": (16, False),
    "regnet_y_400mf": (17, True),
    "convnext_tiny": (17, False),
}
REFUSED = ("vit_", "swin_", "maxvit")
DEFAULT = (17, False)
MAX_PARAMETERS = 2_000_000_000 // 4  # an ONNX file has at most 2 GB
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "torchvision-networks.md"
BEGIN = "<!-- The rows below are written by bench/onnx/torchvision_models.py. -->\n"


def image_size(name):
    """Sizes that the architecture allows and that keep the comparison quick."""
    if name.startswith("inception"):
        return 171
    if name.startswith("efficientnet"):
        # In the last of many layers, 2×2 positions of 64 pixels are too few for batch statistics:
        # PyTorch's own logits of b4 then differ from those in f64 by 2e-2.
        return 128
    if name.startswith(("alexnet", "vgg")):
        return 224
    if name.startswith(REFUSED):
        return 224
    return 64


def randomise(network):
    """Weights, batch statistics and layer scales as after training: where they are fresh, a block
    changes the logits so little that an error in it would not be seen."""
    for name, parameter in network.named_parameters():
        if name.endswith("layer_scale"):
            torch.nn.init.uniform_(parameter, 0.3, 1)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, torch.nn.BatchNorm2d):
            # The statistics fit the activations, so that these neither vanish nor explode.
            module.momentum = None
            module.reset_running_stats()


def settle(network, size, channels=3, images=None):
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        network(torch.randn(4, channels, size, size) if images is None else images)
    network.eval()


def build(name, size, **options):
    torch.manual_seed(1)
    options["weights"] = None
    if name.startswith(("googlenet", "inception")):
        options |= {"transform_input": True, "init_weights": False}
    network = getattr(torchvision.models, name)(**options)
    if name.startswith(REFUSED):
        return network.eval()
    if name.startswith("inception"):
        network.AuxLogits = None  # needs 299 pixels, and is not exported
    randomise(network)
    settle(network, size)
    return network


def write_safetensors(path, name, tensor):
    raw = tensor.contiguous().numpy().tobytes()
    header = {name: {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [0, len(raw)]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw)


def read_safetensors(path, name):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entry = json.loads(raw[8:8 + length])[name]
    begin, end = entry["data_offsets"]
    values = torch.frombuffer(bytearray(raw[8 + length + begin:8 + length + end]),
                              dtype=torch.float32)
    return values.reshape(entry["shape"])


def export(network, path, size, opset, separate_norms):
    mode = torch.onnx.TrainingMode.PRESERVE if separate_norms else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(network, torch.randn(1, 3, size, size), str(path), opset_version=opset,
                      training=mode, input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})


def num_parameters(name):
    return torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]


def run(program, name, folder, opset, separate_norms):
    """Returns whether the result is as it must be, and the result as a line of text."""
    refused = name.startswith(REFUSED)
    size = image_size(name)
    network = build(name, size)
    images = torch.randn(1, 3, size, size)
    try:
        export(network, folder / "net.onnx", size, opset, separate_norms)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        operator = str(error).split("'")[1]
        return refused, f"PyTorch {torch.__version__[:4]} does not export it ({operator})"
    write_safetensors(folder / "images.safetensors", "images", images)
    done = subprocess.run([program, folder / "net.onnx", folder], capture_output=True, text=True)
    if done.returncode != 0:
        message = done.stderr.strip().removeprefix(f"{folder / 'net.onnx'}: ")
        return refused and "\n" not in message and "attention" in message, f"refused: {message}"
    with torch.no_grad():
        expected = network(images)
    logits = read_safetensors(folder / "logits.safetensors", "logits")
    difference = ((logits - expected).abs().max() / expected.abs().max()).item()
    nodes, operations = done.stdout.split()
    return (not refused and difference <= TOLERANCE,
            f"{nodes} nodes → {operations} operations, relative difference {difference:.1e}")


def write_row(name, opset, text):
    """Replaces the row of a network in the page, or adds it; the rows are sorted by name."""
    before, rows = PAGE.read_text().split(BEGIN)
    heading, line, *rows = rows.splitlines()
    rows = {row.split("|")[1].strip(): row for row in rows}
    rows[name] = f"| {name} | {opset} | {text} |"
    PAGE.write_text(before + BEGIN + "\n".join([heading, line] + [rows[n] for n in sorted(rows)])
                    + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names
    if arguments.sample:
        names = list(SAMPLE) + ["swin_t"]
    if not names:
        names = sorted(torchvision.models.list_models(module=torchvision.models),
                       key=num_parameters)
    torch.set_num_threads(1)
    failed = 0
    for name in names:
        opset, separate_norms = SAMPLE.get(name, DEFAULT)
        if num_parameters(name) > MAX_PARAMETERS:
            ok, text = True, "not run: its weights exceed 2 GB, the limit of an ONNX file"
        else:
            with tempfile.TemporaryDirectory() as folder:
                ok, text = run(arguments.program, name, pathlib.Path(folder), opset,
                               separate_norms)
        failed += not ok
        print(f"{name}, opset {opset}: {text}{'' if ok else '   FAILED'}", flush=True)
        if arguments.page:
            write_row(name, opset, text)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
