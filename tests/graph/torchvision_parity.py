"""Compares networks built here with torchvision's: same weights, same images, same logits, both ways;
and the pyramid pool with PyTorch's adaptive pooling.

usage: torchvision_parity.py PROGRAM     (PROGRAM is built from torchvision_parity.cpp)
Exit status 77 means skipped: no PyTorch or torchvision here (packages-test.txt).
"""
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

TOLERANCE = 1e-5  # of max|a - b| / max|b|
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(path, tensors):
    """8-byte little-endian header length, JSON header, raw tensors."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(raw[8 + length + begin:8 + length + end]),
                                  dtype=DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def randomise_norms(network):
    """Statistics and weights as after training: a fresh norm is the identity and tests little."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)


def relative_difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def check(what, difference):
    print(f"{what}: relative difference {difference:.2e}")
    if not difference <= TOLERANCE:
        sys.exit(f"{what}: the logits differ by {difference:.2e}, more than {TOLERANCE:.0e}")


def check_network(program, folder, name, size, count):
    torch.manual_seed(size)
    network = getattr(torchvision.models, name)(weights=None).eval()
    randomise_norms(network)
    images = torch.randn(count, 3, size, size)
    # With num_batches_tracked, as torchvision's users save it.
    write_safetensors(folder / "theirs.safetensors", network.state_dict())
    write_safetensors(folder / "images.safetensors", {"images": images})
    subprocess.run([program, "network", name, folder], check=True)
    logits = read_safetensors(folder / "logits.safetensors")

    with torch.no_grad():
        check(f"{name} at {size}, their weights",
              relative_difference(logits["theirs"], network(images)))
        # Back: weights drawn here go into torchvision's network, every name and shape matching.
        network.load_state_dict(read_safetensors(folder / "ours.safetensors"), strict=True)
        check(f"{name} at {size}, our weights", relative_difference(logits["ours"], network(images)))


def check_pyramid(program, folder):
    torch.manual_seed(1)
    inputs = {}
    for level in (1, 2, 3, 4, 7):
        for height, width in ((7, 5), (1, 1), (3, 3), (4, 4), (13, 1), (2, 11), (32, 32), (17, 19)):
            inputs[f"{height}x{width}.{level}"] = torch.randn(2, height, width)
    write_safetensors(folder / "inputs.safetensors", inputs)
    subprocess.run([program, "pyramid", folder], check=True)
    pooled = read_safetensors(folder / "pooled.safetensors")
    for name, tensor in inputs.items():
        level = int(name.split(".")[1])
        expected = torch.nn.functional.adaptive_max_pool2d(tensor, level).flatten()
        if not torch.equal(pooled[name], expected):
            sys.exit(f"pyramid {name}: got {pooled[name].tolist()}, PyTorch says {expected.tolist()}")
    print(f"pyramid: {len(inputs)} cases equal to adaptive_max_pool2d")


def main():
    program = sys.argv[1]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        check_pyramid(program, folder)
        check_network(program, folder, "resnet18", 64, 2)
        check_network(program, folder, "resnet34", 33, 1)
        check_network(program, folder, "resnet18", 224, 1)


main()
