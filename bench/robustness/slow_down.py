#!/usr/bin/env python3
"""Measures a policy on images that were changed so that they stay in the network for long.

    /usr/bin/python3 bench/robustness/slow_down.py MODEL --data FOLDER --images 1000

An attack on early exits (DeepSloth: Hong et al., 2021) changes each pixel by at most --strength of 255 so that no
early exit is confident: projected gradient descent on the cross-entropy between the probabilities of all early exits
and the uniform distribution. The gradients come from the network itself, in f32 by PyTorch; the changed images are
rounded to 8 bits, written as PNG, and evaluated by `offramp test`, which really stops them. The table shows strength
0 (the same images unchanged) first. With --deadline-ms, the images are also classified by the Python package with
that deadline, one at a time on one thread.

Needs numpy, PIL and PyTorch (Debian: python3-numpy python3-pil python3-torch). FOLDER holds images in
<class>/, as `offramp data export` writes them, of the size of the network.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

DTYPES = {"F32": "<f4", "I8": "i1", "I64": "<i8", "U64": "<u8", "U8": "u1"}


class Model:
    """The network of a model file as PyTorch code. Weights of 8 bits are widened."""

    def __init__(self, path):
        content = pathlib.Path(path).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:8 + length])
        metadata = header.pop("__metadata__")
        self.graph = json.loads(metadata["graph"])
        self.classes = json.loads(metadata["classes"])
        preprocessing = json.loads(metadata["preprocessing"])
        self.size = preprocessing["height"], preprocessing["width"]
        self.mean = torch.tensor(preprocessing["mean"]).view(3, 1, 1)
        self.std = torch.tensor(preprocessing["std"]).view(3, 1, 1)
        tensors = {}
        for name, entry in header.items():
            begin, end = (8 + length + at for at in entry["data_offsets"])
            if entry["dtype"] == "BF16":
                bits = np.frombuffer(content[begin:end], "<u2").astype(np.uint32) << 16
                tensors[name] = torch.from_numpy(bits.view(np.float32).reshape(entry["shape"]).copy())
            else:
                values = np.frombuffer(content[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
                if values.dtype.kind != "u":
                    tensors[name] = torch.from_numpy(values.astype(np.float32))
        self.weights = {name: value * tensors[f"{name}_scale"].view(-1, 1, 1, 1) if f"{name}_scale" in tensors
                        else value for name, value in tensors.items()}

    def _run(self, node, inputs):
        op, name, w = node["op"], node["name"], self.weights
        x = inputs[0]
        if op == "conv":
            return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), node["stride"], node["padding"], 1,
                            node["groups"])
        if op == "batch_norm":
            return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"],
                                w[f"{name}.bias"], eps=node["eps"])
        if op == "relu":
            return F.relu(x)
        if op == "relu6":
            return F.relu6(x)
        if op == "add":
            return sum(inputs[1:], x)
        if op == "concat":
            return torch.cat(inputs, 1)
        if op == "max_pool":
            return F.max_pool2d(x, node["kernel"], node["stride"], node["padding"])
        if op == "avg_pool":
            return F.avg_pool2d(x, node["kernel"], node["stride"], node["padding"])
        if op == "global_avg_pool":
            return x.mean((2, 3))
        if op == "spatial_pyramid_pool":
            return torch.cat([F.adaptive_max_pool2d(x, level).flatten(1) for level in node["levels"]], 1)
        if op == "flatten":
            return x.flatten(1)
        if op == "linear":
            return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))
        raise SystemExit(f"node {name}: this script does not know the operation {op}")

    def early_logits(self, pixels):
        """Returns the logits of every early exit for pixels in [0, 1], [N, 3, H, W]."""
        values = {"input": (pixels - self.mean) / self.std}
        logits = []
        for segment in self.graph["segments"]:
            for node in segment["nodes"]:
                values[node["name"]] = self._run(node, [values[i] for i in node["inputs"]])
            for node in segment["head"]:
                values[node["name"]] = self._run(node, [values[i] for i in node["inputs"]])
            if segment["head"]:
                logits.append(values[segment["head"][-1]["name"]])
            if len(logits) == sum(bool(s["head"]) for s in self.graph["segments"]) - 1:
                return logits
        raise SystemExit("the network has no early exit")


def attack(model, pixels, strength, steps):
    """Returns pixels within `strength` of the given ones, at which the early exits are less confident."""
    generator = torch.Generator().manual_seed(1)
    change = (torch.rand(pixels.shape, generator=generator) * 2 - 1) * strength
    for _ in range(steps):
        change.requires_grad_(True)
        loss = sum(-F.log_softmax(z, 1).mean() for z in model.early_logits((pixels + change).clamp(0, 1)))
        gradient, = torch.autograd.grad(loss, change)
        change = (change.detach() - 2.5 * strength / steps * gradient.sign()).clamp(-strength, strength)
    return (pixels + change).clamp(0, 1)


def write_images(folder, model, pixels, labels):
    bytes_of = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for i, (image, label) in enumerate(zip(bytes_of, labels)):
        place = folder / "test" / model.classes[label].replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:05}.png")


def run(*command):
    ended = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: ended with {ended.returncode}")
    return ended.stdout


def with_deadline(flags, model, folder):
    """Returns the accuracy and the mean relative cost of images that are classified one at a time, each in time."""
    import offramp  # pylint: disable=import-outside-toplevel,import-error
    session = offramp.load(flags.model, threads=1).session()
    paths = sorted(folder.glob("test/*/*.png"))
    answers = [session.classify(str(path), deadline_ms=flags.deadline_ms) for path in paths]
    correct = [answer.class_name.replace("/", "_") == path.parent.name for answer, path in zip(answers, paths)]
    return np.mean(correct), np.mean([answer.relative_cost for answer in answers])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder with <class>/ images of the size of the network")
    parser.add_argument("--offramp", default="build/release/offramp")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--strength", default="0,1,2,4,8", help="largest changes of a pixel, of 255")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--deadline-ms", type=float)
    flags = parser.parse_args()
    model = Model(flags.model)
    paths = sorted(pathlib.Path(flags.data).glob("*/*.png"))
    if not paths:
        raise SystemExit(f"{flags.data}: no PNG images in <class>/")
    paths = [paths[i] for i in np.random.default_rng(1).permutation(len(paths))[:flags.images]]
    names = {name.replace("/", "_"): label for label, name in enumerate(model.classes)}
    labels = [names[path.parent.name] for path in paths]
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    if {image.shape[:2] for image in images} != {model.size}:
        raise SystemExit(f"{flags.data}: expected images of {model.size[1]}x{model.size[0]} pixels")
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    print("| largest change of a pixel, of 255 | accuracy of the last exit, % | of the policy, % | relative cost | "
          "harm, % | stop at exits 1, 2, …, % | drift flag | with a deadline: accuracy, %, cost |\n" + "|---" * 8 + "|")
    for strength in map(float, flags.strength.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            changed = pixels if strength == 0 else torch.cat(
                [attack(model, batch, strength / 255, flags.steps) for batch in pixels.split(100)])
            write_images(pathlib.Path(folder), model, changed, labels)
            result = json.loads(run(flags.offramp, "test", flags.model, "--data", folder, "--json"))
            policy, deadline = result["policy"], ""
            if flags.deadline_ms:
                correct, cost = with_deadline(flags, model, pathlib.Path(folder))
                deadline = f"{100 * correct:.1f}, {cost:.3f}"
            drift = policy["drift"]["flag"] if policy.get("drift") else "unknown"
            print(f"| {strength:g} | {100 * result['exits'][-1]['accuracy']:.1f} | {100 * policy['accuracy']:.1f} | "
                  f"{policy['relative_cost']:.3f} | {100 * policy['harm']:.1f} | "
                  f"{', '.join(f'{100 * share:.1f}' for share in policy['shares'])} | {drift} | {deadline} |",
                  flush=True)


if __name__ == "__main__":
    main()
