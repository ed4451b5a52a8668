"""Builds a ResNet-18 with a CIFAR stem and no early exit from the weights of a model file: as ONNX (f32, or int8 with
quantise/dequantise pairs) and as a PyTorch module."""

import json
import struct

import numpy

from onnx_file import Graph

DTYPES = {"F32": numpy.float32, "I64": numpy.int64}


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__" or info["dtype"] not in DTYPES:
            continue
        begin, end = info["data_offsets"]
        tensors[name] = numpy.frombuffer(data[8 + size + begin:8 + size + end],
                                         DTYPES[info["dtype"]]).reshape(info["shape"])
    return tensors


def fold(weights, conv, norm):
    """Returns a convolution's weights and bias, with the following batch norm folded in."""
    scale = weights[norm + ".weight"] / numpy.sqrt(weights[norm + ".running_var"] + 1e-5)
    return ((weights[conv + ".weight"] * scale[:, None, None, None]).astype(numpy.float32),
            (weights[norm + ".bias"] - weights[norm + ".running_mean"] * scale).astype(numpy.float32))


class Visitor:
    """Base class of the objects that walk() calls: one method per operation, which returns its output."""

    def input(self): ...
    def conv(self, x, name, weights, bias, stride, padding, relu): ...
    def add(self, x, shortcut, name): ...
    def classify(self, x, weights, bias): ...


def walk(weights, visitor):
    """Calls the visitor for each operation of the network, with batch norms folded."""
    x = visitor.input()
    x = visitor.conv(x, "conv1", *fold(weights, "conv1", "bn1"), 1, 1, True)
    for layer in range(1, 5):
        for block in range(2):
            name = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            shortcut = x
            y = visitor.conv(x, name + ".1", *fold(weights, name + ".conv1", name + ".bn1"), stride, 1, True)
            y = visitor.conv(y, name + ".2", *fold(weights, name + ".conv2", name + ".bn2"), 1, 1, False)
            if name + ".downsample.0.weight" in weights:
                shortcut = visitor.conv(x, name + ".d", *fold(weights, name + ".downsample.0", name + ".downsample.1"),
                                        stride, 0, False)
            x = visitor.add(y, shortcut, name)
    return visitor.classify(x, weights["fc.weight"], weights["fc.bias"])


class OnnxFloat(Visitor):
    def __init__(self):
        self.graph = Graph()

    def input(self):
        return "input"

    def conv(self, x, name, weights, bias, stride, padding, relu):
        y = self.graph.add("Conv", [x, self.graph.constant(weights), self.graph.constant(bias)],
                           strides=[stride, stride], pads=[padding] * 4, kernel_shape=list(weights.shape[2:]))
        return self.graph.add("Relu", [y]) if relu else y

    def add(self, x, shortcut, name):
        return self.graph.add("Relu", [self.graph.add("Add", [x, shortcut])])

    def classify(self, x, weights, bias):
        x = self.graph.add("Flatten", [self.graph.add("GlobalAveragePool", [x])])
        return self.graph.add("Gemm", [x, self.graph.constant(weights), self.graph.constant(bias)], "logits", transB=1)


class OnnxQuantised(OnnxFloat):
    """Writes u8 activations with the given ranges and s8 weights per output channel.

    Residuals stay quantised, unless sums_in_f32: then the convolutions' results that only an addition reads do not.
    """

    def __init__(self, ranges, sums_in_f32):
        super().__init__()
        self.ranges, self.sums_in_f32 = ranges, sums_in_f32

    def pair(self, x, name):
        """Quantises x to u8 and dequantises it."""
        low, high = self.ranges[name]
        scale = numpy.float32(max(high - low, 1e-6) / 255)
        zero = numpy.uint8(numpy.clip(round(-low / scale), 0, 255))
        constants = [self.graph.constant(numpy.array(scale)), self.graph.constant(numpy.array(zero))]
        return self.graph.add("DequantizeLinear", [self.graph.add("QuantizeLinear", [x] + constants)] + constants), scale

    def input(self):
        return self.pair("input", "input")

    def conv(self, x, name, weights, bias, stride, padding, relu):
        src, src_scale = x
        scales = (numpy.abs(weights).max(axis=(1, 2, 3)) / 127).astype(numpy.float32)
        rounded = numpy.clip(numpy.rint(weights / scales[:, None, None, None]), -127, 127).astype(numpy.int8)
        zeros = self.graph.constant(numpy.zeros(len(scales), numpy.int8))
        w = self.graph.add("DequantizeLinear", [self.graph.constant(rounded), self.graph.constant(scales), zeros], axis=0)
        bias_scales = (scales * src_scale).astype(numpy.float32)
        bias_zeros = self.graph.constant(numpy.zeros(len(scales), numpy.int32))
        b = self.graph.add("DequantizeLinear",
                           [self.graph.constant(numpy.rint(bias / bias_scales).astype(numpy.int32)),
                            self.graph.constant(bias_scales), bias_zeros], axis=0)
        y = self.graph.add("Conv", [src, w, b], strides=[stride, stride], pads=[padding] * 4,
                           kernel_shape=list(weights.shape[2:]))
        if not relu and self.sums_in_f32:
            return y, None
        return self.pair(self.graph.add("Relu", [y]) if relu else y, name)

    def add(self, x, shortcut, name):
        return self.pair(self.graph.add("Relu", [self.graph.add("Add", [x[0], shortcut[0]])]), name)

    def classify(self, x, weights, bias):
        return super().classify(x[0], weights, bias)


class Ranges(Visitor):
    """Runs the network in numpy and records the range of every tensor that will be quantised."""

    def __init__(self, images):
        self.images, self.ranges = images, {}

    def seen(self, x, name):
        self.ranges[name] = (min(float(x.min()), 0.0), float(x.max()))
        return x

    def input(self):
        return self.seen(self.images, "input")

    def conv(self, x, name, weights, bias, stride, padding, relu):
        x = numpy.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = numpy.lib.stride_tricks.sliding_window_view(x, weights.shape[2:], (2, 3))[:, :, ::stride, ::stride]
        y = numpy.tensordot(windows, weights, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + bias[:, None, None]
        return self.seen(numpy.maximum(y, 0) if relu else y, name)

    def add(self, x, shortcut, name):
        return self.seen(numpy.maximum(x + shortcut, 0), name)

    def classify(self, x, weights, bias):
        return None


def observe_ranges(weights, images):
    """Returns the range of every tensor that write_onnx quantises, by name."""
    observer = Ranges(images)
    walk(weights, observer)
    return observer.ranges


def write_onnx(weights, path, batch, shape, ranges=None, sums_in_f32=False):
    """Writes the network for a fixed batch, in f32 or, with ranges, in int8."""
    visitor = OnnxFloat() if ranges is None else OnnxQuantised(ranges, sums_in_f32)
    walk(weights, visitor)
    visitor.graph.write(path, [batch, *shape], [batch, weights["fc.weight"].shape[0]])


def torch_module(weights):
    """Returns the network as an ordinary PyTorch module, with batch norms folded into the convolutions."""
    import torch

    class Builder(Visitor):
        def __init__(self):
            self.convs = {}

        def input(self):
            return None

        def conv(self, x, name, weights, bias, stride, padding, relu):
            conv = torch.nn.Conv2d(weights.shape[1], weights.shape[0], weights.shape[2], stride, padding)
            conv.weight.data, conv.bias.data = torch.from_numpy(weights), torch.from_numpy(bias)
            self.convs[name.replace(".", "_")] = conv

        def add(self, x, shortcut, name):
            return None

        def classify(self, x, weights, bias):
            self.fc = torch.nn.Linear(weights.shape[1], weights.shape[0])
            self.fc.weight.data, self.fc.bias.data = torch.from_numpy(weights.copy()), torch.from_numpy(bias.copy())

    class Block(torch.nn.Module):
        def __init__(self, convs, name):
            super().__init__()
            self.conv1, self.conv2 = convs[name + "_1"], convs[name + "_2"]
            self.down = convs.get(name + "_d", torch.nn.Identity())
            self.relu = torch.nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.conv2(self.relu(self.conv1(x)))
            y += self.down(x)
            return self.relu(y)

    builder = Builder()
    walk(weights, builder)
    blocks = [Block(builder.convs, f"layer{layer}_{block}") for layer in range(1, 5) for block in range(2)]
    return torch.nn.Sequential(builder.convs["conv1"], torch.nn.ReLU(inplace=True), *blocks,
                               torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), builder.fc).eval()
