"""Runs the commands of docs/from-pytorch.md: a network of PyTorch becomes an int8 model and an ONNX
file.

usage: from_pytorch_test.py PROGRAM DOCUMENT
Exit status 77 means skipped: no PyTorch here (packages-test.txt).
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import torch
except ImportError as error:
    print(f"skipped: {error}; install the packages of packages-test.txt to run this test")
    sys.exit(77)

CLASSES = 3


def run(program, line):
    words = line.split("#")[0].split()
    words[0] = program
    at = [i for i, word in enumerate(words) if word == "*.jpg"]
    for i in at:
        words[i:i + 1] = sorted(str(path) for path in pathlib.Path(".").glob("held-out/test/*/*"))[:3]
    print("$", *words, flush=True)
    done = subprocess.run(words, capture_output=True, text=True)
    print(done.stdout, done.stderr, flush=True)
    if "this CPU has no instructions" in done.stderr:
        print("skipped: int8 needs AVX-512 VNNI")
        sys.exit(77)
    if done.returncode != 0:
        sys.exit(f"exit status {done.returncode}")


def small_network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.BatchNorm2d(32),
        torch.nn.Hardswish(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(32, CLASSES))


def main():
    program = os.path.abspath(sys.argv[1])
    document = pathlib.Path(sys.argv[2]).read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", document, re.S | re.M)
    # python/tests/test_documents.py runs the block that needs the Python package.
    export = next(text for language, text in blocks
                  if language == "python" and "torch.onnx.export" in text)
    commands = [line for language, text in blocks if language == ""
                for line in text.splitlines() if line.startswith("offramp ")]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in ("train", "test"):
            run(program, f"offramp data export synthetic:1:{CLASSES} -o held-out/{part} --part "
                         f"{part} --per-class {60 if part == 'train' else 10}")
        names = sorted(path.name for path in pathlib.Path("held-out/train").iterdir())
        exec(export.replace("224, 224", "32, 32"),
             {"net": small_network(), "torch": torch, "pathlib": pathlib, "class_names": names})
        for line in commands:
            # The forms with exits need a model with exits; the imported one has one exit.
            if "model.safetensors" in line:
                if "conditional" in line or "--form" not in line:
                    continue
                line = line.replace("model.safetensors", "net.safetensors")
            run(program, line)
        for name in ("net.safetensors", "net.int8.safetensors", "all.onnx", "plain.onnx"):
            if not pathlib.Path(name).is_file():
                sys.exit(f"{name} was not written")


main()
