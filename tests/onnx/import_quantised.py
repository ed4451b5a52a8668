"""Imports a network that onnxruntime.quantization quantised, and compares the answers with those of
ONNX Runtime.

usage: import_quantised.py OFFRAMP     (OFFRAMP is the program)
Exit status 77 means skipped: no onnx or onnxruntime here (pip install onnx onnxruntime).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime
    from onnxruntime import quantization
except ImportError as error:
    print(f"skipped: {error}; install onnx and onnxruntime from PyPI to run this test")
    sys.exit(77)

from export_parity import difference, read_safetensors

# A step is 1/255 of a range; the rounding of a few layers adds up, while a ReLU that is lost or a
# wrong range changes the logits by far more.
TOLERANCE = 0.06


def write_network(path, random):
    """A residual network for images of 16×16 pixels, with ReLUs and a ReLU6."""
    weights, nodes = [], []

    def constant(name, *shape):
        values = random.normal(size=shape) * (2 / max(1, np.prod(shape[1:]))) ** 0.5
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(kind, inputs, output, **attributes):
        nodes.append(onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(x, name, channels, inputs, stride=1):
        return node("Conv", [x, constant(name + ".weight", channels, inputs, 3, 3),
                             constant(name + ".bias", channels)], name, pads=[1] * 4,
                    strides=[stride, stride], kernel_shape=[3, 3])

    x = node("Relu", [conv("image", "stem", 16, 3)], "stem.relu")
    y = node("Relu", [conv(x, "first", 16, 16)], "first.relu")
    x = node("Relu", [node("Add", [conv(y, "second", 16, 16), x], "sum")], "sum.relu")
    x = node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    for name, value in (("zero", 0), ("six", 6)):
        weights.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
    x = node("Clip", [conv(x, "third", 32, 16, 2), "zero", "six"], "third.relu6")
    x = node("Flatten", [node("GlobalAveragePool", [x], "mean")], "features")
    node("Gemm", [x, constant("fc.weight", 5, 32), constant("fc.bias", 5)], "logits", transB=1)
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "network", [tensor("image", onnx.TensorProto.FLOAT, ["N", 3, 16, 16])],
        [tensor("logits", onnx.TensorProto.FLOAT, ["N", 5])], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


class Images(quantization.CalibrationDataReader):
    def __init__(self, random):
        self.batches = iter(random.normal(size=(8, 16, 3, 16, 16)).astype(np.float32))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def run(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def check(program, folder, network, name, **options):
    quantised, model = folder / f"{name}.onnx", folder / f"{name}.safetensors"
    quantization.quantize_static(str(network), str(quantised), Images(np.random.default_rng(2)),
                                 quant_format=quantization.QuantFormat.QDQ, **options)
    relus = sum(node.op_type in ("Relu", "Clip") for node in onnx.load(quantised).graph.node)
    said = json.loads(subprocess.run(
        [program, "import", quantised, "-o", model, "--mean", "0,0,0", "--std", "1,1,1", "--json"],
        check=True, stdout=subprocess.PIPE).stdout)
    if said["precision"] != "int8":
        sys.exit(f"{name}: imported as {said['precision']}: {said['notes']}")
    ceilings = json.loads(subprocess.run([program, "bench", "--ceiling", "--json"], check=True,
                                         stdout=subprocess.PIPE).stdout)
    errors = {}
    for precision in ("f32", "int8"):
        if precision not in [ceiling["precision"] for ceiling in ceilings]:
            continue
        kept = folder / f"{name}-{precision}"
        subprocess.run([program, "bench", model, "--mode", "plain", "--precision", precision,
                        "--images", "32", "--seconds", "0.01", "--keep", kept, "--json"],
                       check=True, stdout=subprocess.DEVNULL)
        answers = read_safetensors(kept / "answers.safetensors")
        logits = answers["logits" if precision == "f32" else "logits.int8"][-1]
        errors[precision] = difference(logits, run(quantised, answers["images"]))
        original = difference(logits, run(network, answers["images"]))
        if not max(errors[precision], original) <= TOLERANCE:
            sys.exit(f"{name}, {precision}: the logits differ by {errors[precision]:.1e} from the "
                     f"quantised file's and by {original:.1e} from those before it was quantised")
    print(f"{name}: {relus} ReLUs left in the file, logits differ by {errors}")
    return relus


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        network = folder / "network.onnx"
        write_network(network, np.random.default_rng(1))
        unsigned = quantization.QuantType.QUInt8
        signed = quantization.QuantType.QInt8
        left = check(sys.argv[1], folder, network, "unsigned", activation_type=unsigned,
                     weight_type=signed, per_channel=True)
        if left != 0:
            sys.exit("onnxruntime.quantization removed no ReLU: the test misses its case")
        check(sys.argv[1], folder, network, "signed", activation_type=signed, weight_type=signed,
              extra_options={"ActivationSymmetric": True})
        check(sys.argv[1], folder, network, "unsigned weights", activation_type=unsigned,
              weight_type=unsigned)


main()
