"""Networks of PyTorch become models with the same logits."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tiny_model
from conftest import SHIPPED

import offramp

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = 1e-4  # of max|a - b| / max|b|, as for all imported networks


def settle(network, shape):
    """Batch statistics as after training: they fit the activations."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        network.train()(torch.randn(4, *shape))
    return network.eval()


def small_network(classes=5):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.SiLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, classes),
    )  # fmt: skip


def relative_difference(network, imported, images):
    """max|a - b| / max|b| of the model's and PyTorch's logits, for normalised images."""
    with torch.no_grad():
        expected = network.eval()(images).numpy()
    logits = offramp.load(imported, "f32", threads=1).session().logits(images)[0]
    return np.abs(logits - expected).max() / np.abs(expected).max()


class Wrapped(nn.Module):
    """A network and what is computed before and after it."""

    def __init__(self, network, before=lambda x: x, after=lambda x: x):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, images):
        return self.after(self.network(self.before(images)))


def test_the_logits_are_those_of_the_module(tmp_path):
    network = settle(small_network(), (3, 32, 40))
    out = tmp_path / "net.safetensors"
    imported = offramp.from_torch(
        network, torch.randn(2, 3, 32, 40), out, labels=["a", "b", "c", "d", "e"], mean=0.5, std=0.25
    )
    assert imported.path == str(out) and imported.input_shape == (3, 32, 40)
    assert "pytorch" in imported.producer and imported.difference < TOLERANCE
    assert relative_difference(network, imported, torch.randn(33, 3, 32, 40)) < TOLERANCE
    model = offramp.load(imported, "f32")
    assert model.classes == ["a", "b", "c", "d", "e"]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 40, 3), dtype=np.uint8)
    with torch.no_grad():
        scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = network(scaled).softmax(1).numpy()
    answers = model.session(probabilities=True).classify(pixels)
    assert np.abs(answers.probabilities - expected).max() < TOLERANCE


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_networks_of_torchvision_keep_their_logits(name, tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = settle(getattr(models, name)(weights=None, num_classes=11), (3, 64, 64))
    images = torch.randn(3, 3, 64, 64)
    imported = offramp.from_torch(network, images[:1], tmp_path / "net.safetensors")
    assert relative_difference(network, imported, images) < TOLERANCE


def test_modes_are_restored_also_after_an_error(tmp_path):
    network = settle(small_network(), (3, 32, 32)).train()
    network[1].eval()  # batch statistics that stay
    before = [one.training for one in network.modules()]
    statistics = network[4].running_mean.clone()
    offramp.from_torch(network, torch.randn(1, 3, 32, 32), tmp_path / "net.safetensors")
    assert [one.training for one in network.modules()] == before
    assert (network[4].running_mean == statistics).all()
    with pytest.raises(ValueError, match="the module cannot run it: Given groups=1"):
        offramp.from_torch(network, torch.randn(1, 1, 32, 32))
    assert [one.training for one in network.modules()] == before


def test_without_a_file_the_model_is_temporary():
    code = """
import offramp, torch
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))
imported = offramp.from_torch(network, torch.randn(1, 3, 4, 4))
print(imported.path, offramp.load(imported).classes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, _, classes = done.stdout.partition(" ")
    assert "class 3" in classes and path.endswith("Sequential.safetensors")
    assert not pathlib.Path(path).exists() and not pathlib.Path(path).parent.exists()


def test_a_normalisation_inside_becomes_the_preprocessing(tmp_path):
    network = settle(small_network(), (3, 32, 32))
    inside = Wrapped(network, before=lambda x: (x - 0.4) / 0.2)
    imported = offramp.from_torch(inside, torch.rand(1, 3, 32, 32), tmp_path / "net.safetensors")
    assert imported.difference < TOLERANCE
    assert any("normalises its input" in note for note in imported.notes)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = inside(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).softmax(1).numpy()
    answers = offramp.load(imported, "f32").session(probabilities=True).classify(pixels)
    assert np.abs(answers.probabilities - expected).max() < TOLERANCE


@pytest.mark.parametrize("after", ["softmax", "log_softmax"])
def test_a_softmax_at_the_end_is_left_out(after, tmp_path):
    network = settle(small_network(), (3, 32, 32))
    ending = Wrapped(network, after=lambda x: getattr(x, after)(1))
    images = torch.randn(3, 3, 32, 32)
    imported = offramp.from_torch(ending, images[:1], tmp_path / "net.safetensors")
    assert imported.difference < TOLERANCE and imported.notes
    assert relative_difference(network, imported, images) < TOLERANCE


def test_other_logits_are_refused_before_anything_is_written(tmp_path):
    """A trace holds one branch; the batch of the comparison is the traced one."""
    network = settle(small_network(), (3, 32, 32))
    calls = []

    def other_each_time(x):
        calls.append(None)
        return x * len(calls)

    with pytest.raises(offramp.Error, match="the model's logits differ by .* from the module's"):
        offramp.from_torch(
            Wrapped(network, after=other_each_time), torch.randn(1, 3, 32, 32), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_state_dict_is_that_of_a_network_of_torchvision(tmp_path):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = models.squeezenet1_1(weights=None, num_classes=5).eval()
    # As saved by a compiled module that several processes trained.
    state = {f"_orig_mod.module.{key}": value for key, value in network.state_dict().items()}
    images = torch.randn(2, 3, 64, 64)
    imported = offramp.from_torch(
        state, images[:1], tmp_path / "net.safetensors", arch="squeezenet1_1"
    )
    assert imported.num_classes == 5
    assert relative_difference(network, imported, images) < TOLERANCE


@pytest.mark.parametrize(
    "arch, change, message",
    [
        (None, {}, r'arch: a state dict needs the name of its network in torchvision'),
        ("resnet19", {}, r'arch: unknown network "resnet19"; known: alexnet, .*resnet18'),
        ("googlenet", {}, r"does not say whether the network was built with transform_input=True"),
        ("resnet18", {}, r'not of resnet18: "conv1.weight" is missing, .* and \d+ more'),
        ("squeezenet1_1", {"epoch": 3}, r'"epoch" of the state dict is no tensor but int'),
        ("squeezenet1_1", {"head": torch.zeros(1)}, r'not of squeezenet1_1: "head" is unknown$'),
        (
            "squeezenet1_1", {"features.0.bias": torch.zeros(3)},
            r'not of squeezenet1_1: "features.0.bias" is \[3\] instead of \[64\]$',
        ),
    ],
)  # fmt: skip
def test_a_state_dict_that_does_not_fit_is_refused(arch, change, message):
    models = pytest.importorskip("torchvision.models")
    state = dict(models.squeezenet1_1(weights=None).state_dict()) | change
    with pytest.raises(ValueError, match=message) as caught:
        offramp.from_torch(state, torch.randn(1, 3, 64, 64), arch=arch)
    assert "\n" not in str(caught.value)


def test_arguments_are_checked_in_one_line(tmp_path):
    network, image = small_network().eval(), torch.randn(1, 3, 32, 32)
    cases = [
        ((lambda x: x, image), {}, TypeError, "module: expected a torch.nn.Module or a state dict"),
        ((network, image), {"arch": "resnet18"}, ValueError, "arch: goes with a state dict"),
        ((network, image.numpy()), {}, ValueError, "example_input: expected a tensor, got ndarray"),
        ((network, image[0]), {}, ValueError, r"example_input: expected \[N, C, H, W\]"),
        ((network, torch.ones(1, 3, 8, 8, dtype=torch.uint8)), {}, ValueError, "normalised floating"),
        ((Wrapped(network, after=lambda x: [x, x]), image), {}, ValueError, "as its output, got list"),
        ((Wrapped(network, after=lambda x: x[0]), image), {}, ValueError, r"got shape \[5\]"),
        ((Wrapped(network, after=lambda x: x / 0), image), {}, ValueError, "are not finite"),
        ((Wrapped(network, after=nn.functional.softplus), image), {}, offramp.Error, "Softplus"),
        ((network, image), {"labels": ["a"]}, ValueError, "labels: names 1 classes"),
        ((network, image), {"std": -1}, ValueError, "std: expected numbers above 0"),
    ]  # fmt: skip
    for arguments, options, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            offramp.from_torch(*arguments, out=tmp_path / "out.safetensors", **options)
        assert "\n" not in str(caught.value) and "/tmp" not in str(caught.value)
        assert not (tmp_path / "out.safetensors").exists()


def test_the_exporter_of_newer_versions_is_asked_where_tracing_fails(tmp_path, monkeypatch):
    """As PyTorch 2.5 and later: it has an argument `dynamo`, and colours in its messages."""
    export = torch.onnx.export
    works = True

    def newer_export(module, images, path, *, dynamo, opset_version, dynamic_axes=None, **options):
        print("[torch.onnx] Translate the graph")
        if not dynamo:
            assert opset_version == 17 and dynamic_axes
            raise RuntimeError("tracing does not know this\nSee the documentation")
        if not works:
            raise RuntimeError("\x1b[96mno translation\x1b[0m\nNext steps")
        export(module, images, path, opset_version=17, **options)

    monkeypatch.setattr(torch.onnx, "export", newer_export)
    network = settle(small_network(), (3, 32, 32))
    image = torch.randn(1, 3, 32, 32)
    imported = offramp.from_torch(network, image, tmp_path / "net.safetensors")
    assert relative_difference(network, imported, torch.randn(5, 3, 32, 32)) < TOLERANCE
    works = False
    with pytest.raises(offramp.Error) as caught:
        offramp.from_torch(network, image, tmp_path / "net.safetensors")
    assert str(caught.value) == (
        "from_torch: torch.onnx.export failed: tracing does not know this; no translation"
    )


@pytest.mark.parametrize("order", ["import torch, offramp", "import offramp, torch"])
def test_the_order_of_imports_does_not_matter(order):
    """Both read and write ONNX with protobuf, of versions that may differ."""
    code = f"""
{order}
import io, os, tempfile
folder = tempfile.mkdtemp()
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))
image = torch.randn(1, 3, 4, 4)
model = os.path.join(folder, "net.safetensors")
for _ in range(2):
    imported = offramp.from_torch(network, image, model)
    file = io.BytesIO()
    torch.onnx.export(network, image, file)
    again = os.path.join(folder, "again.onnx")
    offramp.export_onnx(imported, again, form="plain")
    offramp.import_onnx(again, os.path.join(folder, "again.safetensors"))
assert imported.difference < 1e-4 and file.tell() > 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_extension_exports_no_symbol_of_protobuf():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm of binutils is not installed")
    path = sys.modules["offramp._core"].__file__
    done = subprocess.run([nm, "-D", "--defined-only", path], capture_output=True, text=True)
    assert done.returncode == 0 and "PyInit__core" in done.stdout
    assert "protobuf" not in done.stdout and "schema" not in done.stdout


def logits_of(network, images):
    with torch.no_grad():
        return network.eval()(images)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_the_weights_come_back_as_a_state_dict(name, tmp_path):
    models = pytest.importorskip("torchvision.models")
    network = settle(getattr(models, name)(weights=None, num_classes=7), (3, 64, 64))
    images = torch.randn(3, 3, 64, 64)
    imported = offramp.from_torch(network, images[:1], tmp_path / "net.safetensors")
    other = getattr(models, name)(weights=None, num_classes=7)
    modes = [one.training for one in other.modules()]
    state = offramp.state_dict(imported, other, images[:1])
    assert [one.training for one in other.modules()] == modes
    assert state.keys() == network.state_dict().keys()
    other.load_state_dict(state)
    assert (logits_of(other, images) == logits_of(network, images)).all()


def test_what_was_trained_since_comes_back_too(tmp_path):
    """A file whose classifier has other weights, and has an early exit."""
    network = settle(small_network(), (3, 32, 32))
    image = torch.randn(1, 3, 32, 32)
    imported = offramp.from_torch(network, image, tmp_path / "net.safetensors")
    raw = bytearray((tmp_path / "net.safetensors").read_bytes())
    weight = network[9].weight.detach().numpy()
    at = raw.find(weight.tobytes())
    assert at > 0 and raw.find(weight.tobytes(), at + 1) < 0
    raw[at : at + weight.nbytes] = (2 * weight).tobytes()
    (tmp_path / "trained.safetensors").write_bytes(raw)
    state = offramp.state_dict(tmp_path / "trained.safetensors", network, image)
    assert np.array_equal(state["9.weight"].numpy(), 2 * weight)
    assert torch.equal(state["0.weight"], network[0].weight)
    assert imported.path == str(tmp_path / "net.safetensors")


def test_heads_come_back_with_all_weights(model_path, model, images):
    """The network of tiny_model.py, written in PyTorch, with the weights of its file."""
    state = offramp.state_dict(model_path)
    assert set(state) == set(tiny_model.weights())
    network = nn.ModuleDict()
    for k, (inputs, outputs, kernel) in enumerate([(3, 8, 4), (8, 16, 2), (16, 16, 2)], 1):
        network[f"conv{k}"] = nn.Conv2d(inputs, outputs, kernel, kernel)
    heads = nn.ModuleDict(
        {str(k): nn.ModuleDict({"fc": nn.Linear(size, 5)}) for k, size in ((1, 8), (2, 16))}
    )
    network["exits"], network["fc"] = heads, nn.Linear(16, 5)
    network.load_state_dict(state)
    features = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    logits = []
    for k in (1, 2, 3):
        features = network[f"conv{k}"](features).relu()
        head = heads[str(k)]["fc"] if k < 3 else network["fc"]
        logits.append(head(features.mean((2, 3))))
    logits = torch.stack(logits).detach().numpy()
    expected = offramp.load(model_path, "f32").session().logits(images)
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()
    with pytest.raises(ValueError, match="^state_dict: a module and an example input go together$"):
        offramp.state_dict(model_path, example_input=torch.zeros(1, 3, 32, 32))
    with pytest.raises(offramp.Error, match="the weights are quantized"):
        offramp.state_dict(SHIPPED)


def test_a_damaged_file_has_no_weights(model_path, tmp_path):
    whole = model_path.read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(offramp.Error, match="cut: "):
            offramp.state_dict(tmp_path / "cut")


class Scaled(nn.Module):
    """A convolution that is scaled by a parameter, which a model file joins with it."""

    def __init__(self, network):
        super().__init__()
        self.network, self.scale = network, nn.Parameter(torch.full((5,), 1.5))

    def forward(self, images):
        return self.network(images) * self.scale


def test_a_parameter_that_is_joined_with_others_is_reported(tmp_path):
    network = Scaled(settle(small_network(), (3, 32, 32)))
    image = torch.randn(1, 3, 32, 32)
    imported = offramp.from_torch(network, image, tmp_path / "net.safetensors")
    with pytest.raises(offramp.Error, match='"scale", "network.9.weight", "network.9.bias" of the'):
        offramp.state_dict(imported, network, image)
    state = offramp.state_dict(imported, network, image, strict=False)
    assert "network.0.weight" in state and "network.9.weight" not in state
    network.load_state_dict(state, strict=False)


def test_a_state_dict_is_of_the_module_of_the_model_alone(tmp_path):
    network, image = settle(small_network(), (3, 32, 32)), torch.randn(1, 3, 32, 32)
    imported = offramp.from_torch(network, image, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r'tensor "9.bias" is \[5\], expected \[6\]$'):
        offramp.state_dict(imported, small_network(classes=6), image)
    with pytest.raises(ValueError, match='tensor "1.0.bias" is missing, expected'):
        offramp.state_dict(imported, nn.Sequential(nn.Identity(), small_network()), image)
    half, other = (
        nn.Sequential(
            *network[:3], Wrapped(nn.ReLU(), after=lambda x, by=factor: x * by), *network[3:]
        )
        for factor in (0.5, 0.7)
    )
    scaled = offramp.from_torch(half, image, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match="which is none of its parameters, has other values"):
        offramp.state_dict(scaled, other, image)
    with pytest.raises(TypeError, match="module: expected a torch.nn.Module, got OrderedDict"):
        offramp.state_dict(imported, network.state_dict(), image)
    with pytest.raises(FileNotFoundError):
        offramp.state_dict(tmp_path / "nowhere", network, image)


def test_only_a_difference_of_pytorchs_own_rounding_is_accepted(tmp_path):
    torch.manual_seed(3)
    network = settle(small_network(), (3, 32, 32))
    image = torch.randn(2, 3, 32, 32)

    class InHalf(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            logits = self.network(images)
            # Not traced: a rounding that only the module's own logits have.
            if not torch.jit.is_tracing() and logits.dtype == torch.float32:
                logits = (logits * 50).round() / 50
            return logits

    imported = offramp.from_torch(InHalf(), image, tmp_path / "net.safetensors")
    assert 1e-3 < imported.difference < 0.1
    assert any("in double precision, the model's by" in note for note in imported.notes)

    class Shifted(InHalf):
        def forward(self, images):
            logits = self.network(images)
            return logits if torch.jit.is_tracing() else logits * 1.005

    with pytest.raises(offramp.Error, match="differ by 0.005 of the largest from the module's, and"):
        offramp.from_torch(Shifted(), image, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_the_network_is_imported_once(tmp_path, monkeypatch):
    calls = []
    import_onnx = offramp._core.import_onnx
    monkeypatch.setattr(
        offramp._core, "import_onnx", lambda *a: calls.append(a) or import_onnx(*a)
    )
    offramp.from_torch(settle(small_network(), (3, 32, 32)), torch.randn(1, 3, 32, 32),
                       tmp_path / "net.safetensors")  # fmt: skip
    assert len(calls) == 1


def test_no_temporary_folder_remains_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    network, image = settle(small_network(), (3, 32, 32)), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="labels: names 1 classes"):
        offramp.from_torch(network, image, labels=["a"])
    assert list(tmp_path.iterdir()) == []
    imported = offramp.from_torch(network, image)
    assert [pathlib.Path(imported.path).parent] == list(tmp_path.iterdir())


def test_the_output_is_checked_before_the_export(tmp_path):
    network, image = settle(small_network(), (3, 32, 32)), torch.randn(1, 3, 32, 32)
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(ValueError, match="out: .*labels.txt is an input"):
        offramp.from_torch(network, image, labels, labels=labels)
    with pytest.raises(offramp.Error, match="nowhere/net.safetensors: cannot write"):
        offramp.from_torch(network, image, tmp_path / "nowhere" / "net.safetensors")
