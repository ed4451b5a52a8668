"""What the tests share: a tiny model and images, both made here."""

import pathlib
import re

import numpy as np
import pytest
import tiny_model

import offramp

SHIPPED = (
    pathlib.Path(__file__).resolve().parents[2] / "models" / "cifar10-2-exits-small.safetensors"
)


def kernels_here(folder):
    """The name of the code that computes f32 logits on this CPU, as certificates have it."""
    why = offramp.load(tiny_model.write(folder / "any.safetensors")).guarantee().why
    return re.search(r"here they are computed with (.*) and may differ", why).group(1)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """A model with the certificate of this CPU, written here."""
    folder = tmp_path_factory.mktemp("models")
    return tiny_model.write(folder / "tiny.safetensors", kernels=kernels_here(folder))


@pytest.fixture(scope="session")
def model(model_path):
    return offramp.load(model_path, threads=1)


@pytest.fixture(autouse=True)
def no_earlier_certificates():
    """Tests certify the same images."""
    offramp.policy._certificates.clear()


@pytest.fixture(scope="session")
def two_threads(model_path):
    return offramp.load(model_path, threads=2)


def make_images(count, seed=0, height=32, width=32):
    """Smooth random images, uint8 [N, height, width, 3]: their answers differ."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, height // 4, axis=1), width // 4, axis=2)


@pytest.fixture(scope="session")
def images():
    return make_images(64)


def make_logits(count, exits=3, classes=5, seed=1, right=(0.6, 0.75, 0.9)):
    """Logits [K, N, classes] whose later exits are correct more often, and labels [N]."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(exits, count, classes)).astype(np.float32)
    hard = random.random(count)
    for k in range(exits):
        known = hard < right[k]
        logits[k, known, labels[known]] += 4 * (1.2 - hard[known])
    return logits, labels
