"""The server with the clients that people use: tritonclient and KServe's InferenceRESTClient.

    pip install 'tritonclient[http]' kserve pytest
    pytest tests/serve/clients

OFFRAMP names the program (default: build/dev/offramp). Without a client its tests are skipped.
"""

import asyncio
import os
import pathlib
import subprocess
import urllib.request

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = os.environ.get("OFFRAMP", str(ROOT / "build/dev/offramp"))
MODEL = ROOT / "models/cifar10-3-exits.safetensors"
NAME = MODEL.stem


@pytest.fixture(scope="module")
def address():
    """Starts a server on a free port. Gives "127.0.0.1:PORT"."""
    server = subprocess.Popen(
        [PROGRAM, "serve", str(MODEL), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        for line in server.stdout:
            if line.startswith("page:"):
                url = line.split()[1].rstrip("/")
                yield url.removeprefix("http://")
                break
    finally:
        server.terminate()
        assert server.wait(60) == 0


@pytest.fixture
def images():
    """[2, 3, 32, 32] normalised values."""
    return np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def triton(address):
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(address)
    yield http, client
    client.close()


def tensor(http, values, binary=True):
    kinds = {np.dtype("float32"): "FP32", np.dtype("uint8"): "UINT8"}
    result = http.InferInput("image", values.shape, kinds.get(values.dtype, "BYTES"))
    result.set_data_from_numpy(values, binary_data=binary)
    return result


def test_triton_reads_health_metadata_and_configuration(triton):
    _, client = triton
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(NAME)
    assert client.get_server_metadata()["name"] == "offramp"
    metadata = client.get_model_metadata(NAME)
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]
    assert client.get_model_config(NAME)["max_batch_size"] == 256
    assert client.get_model_repository_index()[0]["state"] == "READY"


@pytest.mark.parametrize("binary", [True, False])
def test_triton_infers(triton, images, binary):
    http, client = triton
    outputs = [
        http.InferRequestedOutput(name, binary_data=binary)
        for name in ("class", "exit", "probabilities")
    ]
    result = client.infer(NAME, [tensor(http, images, binary)], outputs=outputs, request_id="a1",
                          priority=1, timeout=60_000_000)
    assert result.get_response()["id"] == "a1"
    assert result.as_numpy("class").shape == (2,)
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (2, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert set(result.as_numpy("exit")) <= {1, 2, 3}


def test_triton_gets_the_same_answers_as_json_and_as_bytes(triton, images):
    http, client = triton
    answers = []
    for binary in (True, False):
        output = http.InferRequestedOutput("probabilities", binary_data=binary)
        result = client.infer(NAME, [tensor(http, images, binary)], outputs=[output])
        answers.append(result.as_numpy("probabilities"))
    np.testing.assert_array_equal(*answers)


def test_triton_asks_for_the_most_probable_classes(triton, images):
    http, client = triton
    output = http.InferRequestedOutput("probabilities", class_count=3)
    result = client.infer(NAME, [tensor(http, images)], outputs=[output])
    top = result.as_numpy("probabilities")
    assert top.shape == (2, 3)
    probability, index, name = top[0, 0].decode().split(":")
    assert 0.1 <= float(probability) <= 1 and 0 <= int(index) < 10 and name


def test_triton_sends_image_files_and_pixels(triton, address):
    http, client = triton
    with urllib.request.urlopen(f"http://{address}/example.png") as response:
        file = response.read()
    files = np.array([file, file], dtype=np.object_)
    result = client.infer(NAME, [tensor(http, files)])
    assert list(result.as_numpy("class")) == [result.as_numpy("class")[0]] * 2
    pixels = np.zeros((1, 48, 40, 3), dtype=np.uint8)
    result = client.infer(NAME, [tensor(http, pixels)], parameters={"threshold": 0.0})
    assert list(result.as_numpy("exit")) == [1]
    result = client.infer(NAME, [tensor(http, pixels)], parameters={"stop": "last"})
    assert list(result.as_numpy("exit")) == [3]


def test_triton_counts_what_it_asked(triton, images):
    http, client = triton
    before = client.get_inference_statistics(NAME)["model_stats"][0]["inference_count"]
    client.async_infer(NAME, [tensor(http, images)]).get_result()
    after = client.get_inference_statistics(NAME)["model_stats"][0]["inference_count"]
    assert after - before == 2


def test_triton_is_told_what_is_wrong(triton, images):
    http, client = triton
    with pytest.raises(http.InferenceServerException, match="there is no such model"):
        client.infer("elsewhere", [tensor(http, images)])
    with pytest.raises(http.InferenceServerException, match="expected .*FP32"):
        client.infer(NAME, [tensor(http, images[:, :, :16])])


@pytest.mark.parametrize("binary", [True, False])
def test_kserve_infers(address, images, binary):
    kserve = pytest.importorskip("kserve")
    url = f"http://{address}"

    async def talk():
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, NAME)
        image = kserve.InferInput("image", list(images.shape), "FP32")
        image.set_data_from_numpy(images, binary_data=binary)
        request = kserve.InferRequest(NAME, [image], request_id="k1")
        return await client.infer(url, request, model_name=NAME)

    response = asyncio.run(talk())
    assert response.id == "k1"
    outputs = {output.name: output for output in response.outputs}
    assert outputs["probabilities"].shape == [2, 10]
    np.testing.assert_allclose(outputs["probabilities"].as_numpy().sum(axis=1), 1, rtol=1e-5)
