"""Writes the seed files of the fuzzing corpora, one of each kind of file: make_corpus.py

It needs PIL and NumPy. The first byte of an image seed selects options of the fuzz target and is not
passed to the decoder.
"""
import io
import json
import pathlib
import struct

import numpy
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent


def images():
    rng = numpy.random.default_rng(1)
    ramp = numpy.linspace(0, 255, 12 * 9 * 3).reshape(9, 12, 3)
    rgb = Image.fromarray((ramp * 0.7 + rng.integers(0, 60, ramp.shape)).astype("uint8"))
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
    }
    for i, (name, (image, options)) in enumerate(sorted(seeds.items())):
        stream = io.BytesIO()
        image.save(stream, {"jpg": "jpeg"}.get(name[-3:], name[-3:]), **options)
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


for name, content in [*images(), *models()]:
    (HERE / "corpus" / name).write_bytes(content)
