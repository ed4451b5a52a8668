"""Quantises an ONNX file to int8 with ONNX Runtime's own tools, as a person does who serves it with ONNX Runtime.

    offramp export models/cifar10-3-exits.safetensors --form plain --precision f32 -o plain.onnx
    offramp data export data --part train --per-class 20 -o images
    peers/bin/python bench/serve/quantize_plain.py plain.onnx images int8-1.onnx

The result takes one image at a time. Convolutions are quantised with a scale a channel, and sums of shortcuts too, so
that ONNX Runtime fuses them to QLinearConv and QLinearAdd; how many it made is printed.
"""

import collections
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnxruntime import quantization
from onnxruntime.tools import onnx_model_utils
from PIL import Image


class Images(quantization.CalibrationDataReader):
    def __init__(self, folder, name):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg")]
        self.name, self.files = name, iter(files)

    def get_next(self):
        path = next(self.files, None)
        if path is None:
            return None
        pixels = numpy.asarray(Image.open(path).convert("RGB"), numpy.float32) / 255
        return {self.name: pixels.transpose(2, 0, 1)[None].copy()}


def operations(path, folder):
    """Counts the operations of the graph that ONNX Runtime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(collections.Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node))


def main():
    source, images, target = map(pathlib.Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = onnx.load(source)
        onnx_model_utils.make_dim_param_fixed(model.graph, model.graph.input[0].type.tensor_type.shape.dim[0].dim_param,
                                              1)
        onnx.save(model, folder / "fixed.onnx")
        quantization.shape_inference.quant_pre_process(folder / "fixed.onnx", folder / "ready.onnx")
        quantization.quantize_static(folder / "ready.onnx", target, Images(images, model.graph.input[0].name),
                                     quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                                     activation_type=quantization.QuantType.QUInt8,
                                     weight_type=quantization.QuantType.QInt8)
        print(operations(target, folder))


main()
