"""Writes the seed files of the fuzzing corpora, one of each kind of file: make_corpus.py

It needs PIL and NumPy, and onnx for the ONNX seeds. The first byte of an image seed selects options
of the fuzz target and is not passed to the decoder.
"""
import io
import json
import pathlib
import struct
import tarfile
import zipfile

import numpy
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent


def images():
    rng = numpy.random.default_rng(1)
    ramp = numpy.linspace(0, 255, 12 * 9 * 3).reshape(9, 12, 3)
    rgb = Image.fromarray((ramp * 0.7 + rng.integers(0, 60, ramp.shape)).astype("uint8"))
    transparent = rgb.copy()
    transparent.putalpha(rgb.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = {
        "rgb.jpg": (rgb, {}),
        "subsampled.jpg": (rgb, {"subsampling": 2, "quality": 40}),
        "progressive.jpg": (rgb, {"progressive": True}),
        "turned.jpg": (rgb, {"exif": exif.tobytes()}),
        "gray.jpg": (rgb.convert("L"), {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "restarts.jpg": (rgb.resize((40, 24)), {"restart_marker_rows": 1}),
        "rgb.png": (rgb, {}),
        "rgba.png": (rgb.convert("RGBA"), {}),
        "palette.png": (rgb.quantize(7), {}),
        "bits.png": (rgb.convert("1"), {}),
        "gray.png": (rgb.convert("L"), {}),
        "gray16.png": (Image.fromarray((ramp[:, :, 0] * 200).astype("uint16")), {}),
        "turned.png": (rgb, {"exif": exif.tobytes()}),
        "lossy.webp": (rgb, {}),
        "lossless.webp": (rgb, {"lossless": True}),
        "alpha.webp": (transparent, {}),
        "turned.webp": (rgb, {"exif": exif.tobytes()}),
        "animated.webp": (rgb, {"save_all": True, "append_images": [rgb.rotate(180)]}),
        "rgb.bmp": (rgb, {}),
        "rgba.bmp": (rgb.convert("RGBA"), {}),
        "palette.bmp": (rgb.quantize(7), {}),
    }
    later = (".webp", ".bmp")  # formats added later, so that the others keep their first bytes
    ordered = sorted(seeds.items(), key=lambda item: (item[0].endswith(later), item[0]))
    for i, (name, (image, options)) in enumerate(ordered):
        stream = io.BytesIO()
        kind = name.rpartition(".")[2]
        image.save(stream, {"jpg": "jpeg"}.get(kind, kind), **options)
        yield "image/" + name, bytes([37 * i % 256]) + stream.getvalue()


def in_eight_bits(header, data, deployment):
    """Returns a file as `offramp quantize` writes it: convolution weights in I8, with their scales."""
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            arrays[name] = (entry["dtype"], entry["shape"], data[begin:end])
    for name in ("conv1.weight", "conv2.weight"):
        _, shape, content = arrays[name]
        values = numpy.frombuffer(content, "<f4").reshape(shape[0], -1)
        scales = (numpy.abs(values).max(1) / 127).astype("<f4")
        arrays[name] = ("I8", shape, numpy.rint(values / scales[:, None]).astype("i1").tobytes())
        arrays[name + "_scale"] = ("F32", [shape[0]], scales.tobytes())
    changed = {"__metadata__": dict(header["__metadata__"], deployment=json.dumps(deployment))}
    rank = {"U64": 0, "F32": 1, "I8": 2}
    content = b""
    for name, (dtype, shape, part) in sorted(arrays.items(), key=lambda item: rank[item[1][0]]):
        changed[name] = {"dtype": dtype, "shape": shape,
                         "data_offsets": [len(content), len(content) + len(part)]}
        content += part
    text = json.dumps(changed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content


def models():
    tiny = (HERE.parent / "data/models/v1-tiny.safetensors").read_bytes()
    length = struct.unpack("<Q", tiny[:8])[0]
    header, data = json.loads(tiny[8:8 + length]), tiny[8 + length:]

    def file(change):
        changed = json.loads(json.dumps(header))
        change(changed["__metadata__"])
        text = json.dumps(changed, separators=(",", ":")).encode()
        return struct.pack("<Q", len(text)) + text + data

    policy = {"criterion": "entropy", "thresholds": [0.75], "temperatures": [1.5, 0.5],
              "ensemble": "weighted", "ensemble_weights": [1, 0.25], "aim": "--guarantee 0.02",
              "guarantee": {"of": "harm", "epsilon": 0.02, "delta": 0.05, "level": 0.045,
                            "images": 400, "counted": 2, "upper_bound": 0.0155,
                            "precision": "f32", "kernels": "some"}}
    yield "model_file/tiny.safetensors", tiny
    yield "model_file/policy.safetensors", file(lambda m: m.update(policy=json.dumps(policy)))
    never = dict(policy, thresholds=[None], guarantee=None, ensemble="off", ensemble_weights=[])
    deployment = {"precision": "int8", "ranges": [{"tensor": "input", "magnitude": 2.6, "signed": True}],
                  "measured": {"images": 2000, "agreement": 0.995, "accuracy": 0.893,
                               "reference_accuracy": 0.895, "difference_interval": [-0.003, 0.001]},
                  "check": {"seed": 1, "logits": [0.5, -1.25]}}
    yield "model_file/deployed.safetensors", file(lambda m: m.update(deployment=json.dumps(deployment)))
    ranges = [{"tensor": tensor, "magnitude": 2.6, "signed": tensor != "relu1"}
              for tensor in ("input", "relu1", "conv2")]
    yield "model_file/int8.safetensors", in_eight_bits(header, data, dict(deployment, ranges=ranges))
    yield "model_file/never.safetensors", file(lambda m: m.update(policy=json.dumps(never)))


def members():
    """Yields path and content of the files of a data set with two classes."""
    for i in range(8):
        stream = io.BytesIO()
        Image.new("RGB", (4, 3), (30 * i, 5, 250 - 9 * i)).save(stream, ["png", "bmp"][i % 2])
        yield f"{'ab'[i // 2 % 2]}/{i}.{['png', 'bmp'][i % 2]}", stream.getvalue()


def idx_members():
    for part, count in (("train", 4), ("t10k", 2)):
        pixels, labels = bytes(range(4 * count)), bytes(i % 2 for i in range(count))
        yield (f"{part}-images-idx3-ubyte", struct.pack(">4i", 2051, count, 2, 2) + pixels)
        yield f"{part}-labels-idx1-ubyte", struct.pack(">2i", 2049, count) + labels


def cifar_members():
    yield "batches.meta.txt", b"".join(b"class%d\n" % i for i in range(10))
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        yield name, (b"\1" + bytes(3072) + b"\2" + b"\x80" * 3072)


def archives():
    def tar(mode, content, change=lambda info: None):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for path, data in content:
                info = tarfile.TarInfo(path)
                info.size = len(data)
                change(info)
                archive.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    def zipped(method):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            for path, data in members():
                archive.writestr(zipfile.ZipInfo(path), data, method)
        return stream.getvalue()

    for mode in ("w", "w:gz", "w:xz", "w:bz2"):
        yield "archive/images.tar" + mode[1:].replace(":", "."), tar(mode, members())
    yield "archive/idx.tar.gz", tar("w:gz", idx_members())
    yield "archive/cifar.tar.gz", tar("w:gz", cifar_members())
    yield "archive/outside.tar", tar("w", [("../a/0.png", b"x")])
    yield "archive/long.tar.gz", tar("w:gz", [("a/" + "n" * 300 + ".png", b"x")])
    yield "archive/stored.zip", zipped(zipfile.ZIP_STORED)
    yield "archive/deflated.zip", zipped(zipfile.ZIP_DEFLATED)
    yield "archive/zip.tar.gz", tar("w:gz", [("inner.zip", zipped(zipfile.ZIP_STORED))])


def packed():
    def file(arrays, metadata):
        header, content = {"__metadata__": metadata}, b""
        for name, (dtype, shape, data) in arrays:
            header[name] = {"dtype": dtype, "shape": shape,
                            "data_offsets": [len(content), len(content) + len(data)]}
            content += data
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + content

    classes, metadata = b"cat\0dog\0", {"format": "offramp-data 1", "source": "image folder"}
    arrays = []
    for part, count in (("train", 3), ("test", 2)):
        names = b"".join(b"%d.png\0" % i for i in range(count))
        arrays += [(part + ".labels", ("I64", [count], struct.pack(f"<{count}q", *[0, 1, 0][:count]))),
                   (part + ".hashes", ("U64", [count], bytes(range(8 * count)))),
                   (part + ".sizes", ("I64", [4], struct.pack("<4q", 2, 2, 1, 1))),
                   (part + ".pixels", ("U8", [count, 1, 2, 3], bytes(range(6 * count)))),
                   (part + ".names", ("U8", [len(names)], names)),
                   (part + ".skipped", ("U8", [8], b"x.jpg\0a\0"))]
    arrays.append(("classes", ("U8", [len(classes)], classes)))
    rank = {"I64": 0, "U64": 0, "U8": 1}
    arrays.sort(key=lambda item: (rank[item[1][0]], item[0]))
    yield "packed/images.offramp", file(arrays, metadata)


def recipes():
    for path in sorted((HERE.parent.parent / "configs").rglob("*.toml")):
        yield "recipe/" + path.name, path.read_bytes()
    for key, value in (("train.epochs", "3"), ("exits", "2,45%"), ("data.mean", "0.5,0.5,0.5"),
                       ("train.schedule", "step"), ("network.backbone", "vgg11")):
        yield "recipe/set-" + key, key.encode() + b"\0" + value.encode()

def networks():
    """ONNX networks with the operators of every family. Needs onnx (build/onnx-venv)."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        print("skipped: the ONNX seeds need the Python package onnx")
        return
    rng = numpy.random.default_rng(2)

    def weight(name, *shape, dtype="float32"):
        return numpy_helper.from_array((rng.normal(size=shape) / 4).astype(dtype), name)

    def numbers(name, *values, dtype="int64"):
        return numpy_helper.from_array(numpy.array(values, dtype), name)

    node = helper.make_node
    start = [node("Conv", ["image", "w"], ["x"], pads=[1, 1, 1, 1])]
    end = [node("GlobalAveragePool", ["y"], ["mean"]), node("Flatten", ["mean"], ["flat"]),
           node("Gemm", ["flat", "fc"], ["logits"], transB=1)]
    branches = [helper.make_graph([node(op, ["x"], [op])], op, [],
                                  [helper.make_tensor_value_info(op, TensorProto.FLOAT, None)])
                for op in ("Relu", "Sigmoid")]
    middles = {
        "relu": ([node("Relu", ["x"], ["y"])], []),
        "hard-swish": ([node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"]),
                        node("Mul", ["x", "b"], ["c"]), node("Div", ["c", "six"], ["y"])],
                       [numbers(n, v, dtype="float32") for n, v in
                        (("three", 3), ("zero", 0), ("six", 6))]),
        "gelu": ([node("Div", ["x", "root"], ["a"]), node("Erf", ["a"], ["b"]),
                  node("Add", ["b", "one"], ["c"]), node("Mul", ["x", "c"], ["d"]),
                  node("Mul", ["d", "half"], ["y"])],
                 [numbers(n, v, dtype="float32") for n, v in
                  (("root", 2 ** 0.5), ("one", 1), ("half", 0.5))]),
        "shuffle": ([node("Reshape", ["x", "split"], ["a"]),
                     node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
                     node("Reshape", ["b", "join"], ["c"]),
                     node("Split", ["c"], ["d", "e"], axis=1),
                     node("Concat", ["e", "d"], ["y"], axis=1)],
                    [numbers("split", 0, 2, 2, 8, 8), numbers("join", 0, 4, 8, 8)]),
        "norm": ([node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
                  node("LayerNormalization", ["a", "g", "h"], ["b"]),
                  node("MatMul", ["b", "m"], ["c"]),
                  node("Transpose", ["c"], ["y"], perm=[0, 3, 1, 2])],
                 [weight("g", 4), weight("h", 4), weight("m", 4, 4)]),
        "batch-norm": ([node("BatchNormalization", ["x", "g", "h", "g", "v"], ["a"]),
                        node("Pad", ["a", "pads"], ["b"]),
                        node("AveragePool", ["b"], ["y"], kernel_shape=[3, 3], strides=[2, 2])],
                       [weight("g", 4), weight("h", 4), numbers("v", 1, 2, 3, 4, dtype="float32"),
                        numbers("pads", 0, 0, 1, 1, 0, 0, 1, 1)]),
        "squeeze": ([node("ReduceMean", ["x"], ["a"], axes=[2, 3]), node("Conv", ["a", "s"], ["b"]),
                     node("HardSigmoid", ["b"], ["c"]), node("Mul", ["c", "x"], ["y"])],
                    [weight("s", 4, 4, 1, 1)]),
        "shapes": ([node("Shape", ["x"], ["a"]), node("Gather", ["a", "first"], ["b"]),
                    node("Concat", ["b", "rest"], ["c"], axis=0), node("Reshape", ["x", "c"], ["d"]),
                    node("Unsqueeze", ["d", "last"], ["f"]), node("Squeeze", ["f", "last"], ["y"])],
                   [numbers("first", 0), numbers("rest", 4, 8, 8), numbers("last", 4)]),
        "quantised": ([node("QuantizeLinear", ["x", "scale"], ["a"]),
                       node("DequantizeLinear", ["a", "scale"], ["b"]),
                       node("DequantizeLinear", ["q", "scales"], ["k"], axis=0),
                       node("Conv", ["b", "k"], ["y"])],
                      [numpy_helper.from_array(rng.integers(-9, 9, (4, 4, 1, 1)).astype("int8"), "q"),
                       numpy_helper.from_array(numpy.float32(0.1), "scale"),
                       numbers("scales", 0.1, 0.2, 0.3, 0.4, dtype="float32")]),
        "branches": ([node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])],
                     [numpy_helper.from_array(numpy.array(True), "yes")]),
        "half": ([node("Cast", ["x"], ["a"], to=TensorProto.FLOAT), node("Conv", ["a", "h"], ["y"])],
                 [weight("h", 4, 4, 1, 1, dtype="float16")]),
    }
    for name, (middle, weights) in middles.items():
        graph = helper.make_graph(
            start + middle + end, name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, None, None])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
            [weight("w", 4, 3, 3, 3), weight("fc", 5, 4), *weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        yield f"onnx/{name}.onnx", model.SerializeToString()


for name, content in [*images(), *models(), *archives(), *packed(), *recipes(), *networks()]:
    path = HERE / "corpus" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
