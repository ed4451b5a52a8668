"""ONNX files in and out."""

import numpy as np
import program
import pytest
import tiny_model
from conftest import make_images

import offramp


@pytest.fixture(scope="module")
def onnx_path(model_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "plain.onnx"
    offramp.export_onnx(model_path, path, form="plain")
    return path


def test_a_plain_file_is_imported_again(model, onnx_path, tmp_path):
    out = tmp_path / "again.safetensors"
    imported = offramp.import_onnx(onnx_path, out, labels=tiny_model.CLASSES)
    assert imported.path == str(out) and imported.difference is None
    assert imported.input_shape == (3, 32, 32) and imported.num_classes == 5
    assert imported.opset == 17 and imported.macs > 0 and imported.tune_images == 0
    assert "became the mean and std of the preprocessing" in imported.notes[0]
    assert "5 classes, input [3, 32, 32]" in repr(imported)
    again = offramp.load(imported, threads=1)
    assert again.num_exits == 1 and again.classes == tiny_model.CLASSES
    images = make_images(20)
    expected = model.session("never", probabilities=True).classify(images)
    answers = again.session(probabilities=True).classify(images)
    assert np.abs(answers.probabilities - expected.probabilities).max() < 1e-5
    assert (answers.class_index == expected.class_index).all()


def test_labels_are_names_or_a_file(onnx_path, tmp_path):
    out = tmp_path / "out.safetensors"
    assert offramp.load(offramp.import_onnx(onnx_path, out)).classes[4] == "class 4"
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n", encoding="utf-8")
    imported = offramp.import_onnx(onnx_path, out, labels=tmp_path / "labels.txt")
    assert offramp.load(imported).classes == ["a", "b", "c", "d", "e"]


def test_a_data_set_is_divided_for_quantize(onnx_path, tmp_path):
    data = program.write_image_folder(tmp_path / "data", tiny_model.CLASSES, 40)
    imported = offramp.import_onnx(
        onnx_path, tmp_path / "out.safetensors", labels=tiny_model.CLASSES, data=data
    )
    parts = (imported.observed_images, imported.tune_images, imported.certify_images)
    assert sum(parts) == 200 and min(parts) > 0
    seen = []
    quantized = offramp.quantize(
        imported, data, images=64, progress=lambda done, total, unit: seen.append((done, total))
    )
    assert quantized.path == str(tmp_path / "out.int8.safetensors")
    assert quantized.tune_images == imported.tune_images and seen[-1][0] == seen[-1][1]


@pytest.mark.parametrize(
    "options, kind, message",
    [
        ({"labels": ["a", "b"]}, ValueError, r"labels: names 2 classes, but the network has 5"),
        ({"labels": ["a", "b", "c", "d", ""]}, ValueError, r"labels:5: the name of a class is empty"),
        ({"labels": []}, ValueError, r"labels: expected a name for each class, got none"),
        ({"labels": [1, 2]}, TypeError, r"labels\[0\]: expected a name, got int"),
        ({"labels": 5}, TypeError, r"labels: expected a list of names or a text file, got int"),
        ({"labels": {"a": 0}}, TypeError, r"labels: expected a list of names .* got dict"),
        ({"labels": "nowhere.txt"}, FileNotFoundError, r"nowhere.txt"),
        ({"image_size": 64}, offramp.Error, r"image_size: the height is 64, but the file is for 32"),
        ({"image_size": (1, 2, 3)}, ValueError, r"image_size: expected \(height, width\)"),
        ({"image_size": 32.5}, ValueError, r"image_size: expected \(height, width\)"),
        ({"image_size": -1}, ValueError, r"image_size: expected \(height, width\)"),
        ({"mean": [0.5, 0.5]}, ValueError, r"mean: expected one number or one for each of red"),
        ({"mean": [0.5, float("nan"), 0]}, ValueError, r"mean: expected finite numbers"),
        ({"std": 0}, ValueError, r"std: expected numbers above 0, got 0"),
        ({"fit": "stretch"}, ValueError, r"stretch"),
    ],
)  # fmt: skip
def test_options_are_checked_in_one_line(onnx_path, tmp_path, options, kind, message):
    with pytest.raises(kind, match=message) as caught:
        offramp.import_onnx(onnx_path, tmp_path / "out.safetensors", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_files_are_checked_in_one_line(model_path, onnx_path, tmp_path):
    with pytest.raises(FileNotFoundError):
        offramp.import_onnx(tmp_path / "nowhere.onnx", tmp_path / "out.safetensors")
    with pytest.raises(offramp.Error, match="not an ONNX file"):
        offramp.import_onnx(model_path, tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="out: .* is an input"):
        offramp.import_onnx(onnx_path, onnx_path)
    with pytest.raises(FileNotFoundError):
        offramp.export_onnx(tmp_path / "nowhere.safetensors", tmp_path / "out.onnx")


def test_every_form_is_exported(model_path, tmp_path):
    out = tmp_path / "net.onnx"
    for form, exits in (("conditional", 3), ("all-exits", 3), ("plain", 1)):
        exported = offramp.export_onnx(model_path, out, form=form)
        assert exported == offramp.Exported(str(out), form, exits, out.stat().st_size)
    with pytest.raises(ValueError, match='unknown form "nested"'):
        offramp.export_onnx(model_path, out, form="nested")
    imported = offramp.import_onnx(out, tmp_path / "plain.safetensors")
    with pytest.raises(offramp.Error, match="plain.safetensors: .*exit"):
        offramp.export_onnx(imported, out)
