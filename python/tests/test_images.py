import io

import numpy as np
import pytest
from conftest import make_images

import offramp

Image = pytest.importorskip("PIL.Image")


@pytest.fixture()
def session(model):
    return model.session(probabilities=True)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def same(a, b):
    assert a.class_index == b.class_index and a.exit == b.exit
    assert (a.probabilities == b.probabilities).all()


@pytest.mark.parametrize("size", [(32, 32), (48, 40)])
def test_all_forms_of_an_image_have_one_answer(session, tmp_path, size):
    pixels = make_images(1, 3, *size)[0]
    expected = session.classify(pixels)
    file = tmp_path / "image.png"
    file.write_bytes(png(pixels))
    forms = [
        file,
        str(file),
        png(pixels),
        bytearray(png(pixels)),
        memoryview(png(pixels)),
        Image.fromarray(pixels),
        Image.fromarray(pixels).convert("RGBA"),
        np.asfortranarray(pixels),
    ]
    for form in forms:
        same(session.classify(form), expected)
    for answer in session.classify(forms):
        same(answer, expected)


def test_torch_tensors_are_read(session, images):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(images)
    assert (session.classify(tensor).probabilities == session.classify(images).probabilities).all()
    values = torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32)
    same(session.classify(values.clone().requires_grad_()), session.classify(values))
    planes = tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # strided
    assert (session.classify(planes).probabilities == session.classify(images).probabilities).all()


def test_strided_and_read_only_arrays_are_read(session, images):
    expected = session.classify(images).probabilities
    wide = np.repeat(images, 2, axis=2)[:, :, ::2]
    assert (session.classify(wide).probabilities == expected).all()
    flipped = images[:, ::-1].copy()[:, ::-1]
    assert (session.classify(flipped).probabilities == expected).all()
    read_only = images.copy()
    read_only.flags.writeable = False
    assert (session.classify(read_only).probabilities == expected).all()
    assert (session.classify(images[::2]).probabilities == expected[::2]).all()


def test_the_networks_own_input_is_taken_as_it_is(session):
    values = np.random.default_rng(2).normal(size=(5, 3, 32, 32)).astype(np.float32)
    many = session.classify(values)
    same(session.classify(values[2]), many[2])
    strided = values.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert (session.classify(strided).probabilities == many.probabilities).all()


def test_an_upright_image_comes_of_the_orientation(session, tmp_path):
    pixels = make_images(1, 4)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turned right
    file = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    decoded = np.asarray(Image.open(file))
    same(session.classify(Image.open(file)), session.classify(np.rot90(decoded, -1).copy()))
    same(session.classify(file), session.classify(Image.open(file)))


def test_transparency_lies_over_white(session, tmp_path):
    pixels = np.dstack([make_images(1, 5)[0], np.full((32, 32), 0, np.uint8)])
    pixels[:16, :, 3] = 255
    file = tmp_path / "clear.png"
    Image.fromarray(pixels).save(file)
    same(session.classify(file), session.classify(Image.open(file)))


def refused(session, image, kind, *words):
    with pytest.raises(kind) as caught:
        session.classify(image)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_wrong_arrays_are_refused_in_one_line(session):
    zeros = np.zeros
    refused(session, zeros((3, 32, 32), np.uint8), ValueError, "[3, 32, 32]", "transpose(1, 2, 0)")
    refused(session, zeros((2, 3, 32, 32), np.uint8), ValueError, "transpose(0, 2, 3, 1)")
    refused(session, zeros((32, 32), np.uint8), ValueError, "grey")
    refused(session, zeros((32, 32, 4), np.uint8), ValueError, "[32, 32, 4]", "x[..., :3]")
    refused(session, zeros((32, 32, 1), np.uint8), ValueError, "[32, 32, 1]", "numpy.repeat")
    refused(session, zeros((32, 32, 3), np.float64), ValueError, "float64", "float32")
    refused(session, zeros((32, 32, 3), np.int64), ValueError, "int64")
    refused(session, zeros((32, 32, 3), np.float32), ValueError, "channels first", "(255 * x)", "uint8")
    refused(session, zeros((3, 16, 16), np.float32), ValueError, "[3, 16, 16]", "[3, 32, 32]")
    refused(session, np.full((3, 32, 32), 255, np.float32), ValueError, "pixels", "uint8")
    refused(session, np.array(["a", "b"]), ValueError)
    refused(session, np.full((3, 32, 32), np.nan, np.float32), offramp.Error, "not finite")
    refused(session, zeros((0, 32, 3), np.uint8), offramp.Error, "32x0")
    refused(session, [zeros((2, 32, 32, 3), np.uint8)], ValueError, "images[0]", "concatenate")
    refused(session, [zeros((32, 32, 3), np.uint8), 5], TypeError, "images[1]", "int")


def test_other_objects_are_refused(session):
    for thing in (None, 5, 1.5, {}, {"a": 1}, object()):
        refused(session, thing, TypeError, type(thing).__name__)


def test_tensors_that_cannot_be_read_say_why(session):
    torch = pytest.importorskip("torch")
    refused(session, torch.zeros(3, 32, 32, dtype=torch.bfloat16), ValueError, "bfloat16")
    refused(session, torch.zeros(3, 32, 32, device="meta"), ValueError, "meta")


def test_files_that_are_no_images(session, tmp_path):
    refused(session, "nowhere.png", FileNotFoundError, "nowhere.png")
    refused(session, tmp_path, IsADirectoryError, str(tmp_path), "pass a list", "rglob")
    refused(session, tmp_path / "*.png", FileNotFoundError, "*.png", "glob.glob(pattern)")
    refused(session, "image\0.png", ValueError, "null")
    refused(session, ["image\0.png"], ValueError, "null")
    text = tmp_path / "text.png"
    text.write_text("hello")
    refused(session, text, offramp.Error, "text.png: ", "not a JPEG, PNG, WebP or BMP")
    refused(session, b"hello", offramp.Error, "not a JPEG, PNG, WebP or BMP")
    refused(session, b"", offramp.Error)
    many = session.classify([text, "nowhere.png", png(make_images(1)[0])])
    assert "text.png" in many.error[0] and "nowhere.png" in many.error[1]
    assert many.error[2] is None and many[2].class_name is not None
    assert many.class_name[:2] == [None, None] and many.exit[0] == 0
    assert "2 errors" in repr(many) and "text.png" in repr(many[0])


def test_nothing_is_an_answer_of_nothing(session):
    for nothing in ([], (), np.zeros((0, 32, 32, 3), np.uint8)):
        assert len(session.classify(nothing)) == 0
    assert session.logits([]).shape == (3, 0, 5)
