"""Writes ONNX models, using only numpy.

ONNX files are protocol buffers; the numbers below are the field numbers of onnx.proto3. Only the fields that a
convolutional network needs are supported.
"""

import struct

import numpy

TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def integer(field, value):
    return varint(field << 3) + varint(value)


def piece(field, body):
    body = body.encode() if isinstance(body, str) else bytes(body)
    return varint(field << 3 | 2) + varint(len(body)) + body


def attribute(name, value):
    body = piece(1, name)
    if isinstance(value, float):
        return body + varint(2 << 3 | 5) + struct.pack("<f", value) + integer(20, 1)
    if isinstance(value, int):
        return body + integer(3, value) + integer(20, 2)
    return body + b"".join(integer(8, v) for v in value) + integer(20, 7)


def tensor(name, array):
    array = numpy.asarray(array, order="C")  # unlike ascontiguousarray, keeps 0-dimensional arrays
    return (b"".join(integer(1, d) for d in array.shape) + integer(2, TYPES[str(array.dtype)]) +
            piece(8, name) + piece(9, array.tobytes()))


def value_info(name, shape):
    dims = b"".join(piece(1, integer(1, d)) for d in shape)
    return piece(1, name) + piece(2, piece(1, integer(1, TYPES["float32"]) + piece(2, dims)))


class Graph:
    """An ONNX graph with one f32 input and one f32 output."""

    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array):
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(tensor(name, array))
        return name

    def add(self, op, inputs, output=None, **attributes):
        self.count += 1
        output = output or f"t{self.count}"
        self.nodes.append(b"".join(piece(1, i) for i in inputs) + piece(2, output) + piece(3, f"n{self.count}") +
                          piece(4, op) + b"".join(piece(5, attribute(k, v)) for k, v in attributes.items()))
        return output

    def write(self, path, shape, outputs, opset=13):
        graph = (b"".join(piece(1, n) for n in self.nodes) + piece(2, "network") +
                 b"".join(piece(5, c) for c in self.constants) +
                 piece(11, value_info("input", shape)) + piece(12, value_info("logits", outputs)))
        with open(path, "wb") as file:
            file.write(integer(1, 8) + piece(2, "offramp bench") + piece(7, graph) +
                       piece(8, piece(1, "") + integer(2, opset)))
