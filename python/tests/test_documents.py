import pathlib
import re
import subprocess
import sys

import program
import pytest

import offramp

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_first_lines_of_the_guide_work_when_pasted():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len(code.splitlines()) == 8
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "100 images" in done.stdout and "Answer('" in done.stdout


def test_everything_public_is_documented():
    for name in offramp.__all__:
        if not name.startswith("__"):
            assert getattr(offramp, name).__doc__, name
    for module in (offramp.policy, offramp.metrics):
        for name in module.__all__:
            assert getattr(module, name).__doc__, name


def make_reference(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "python" / "make_reference", *arguments],
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_reference_is_made_from_the_docstrings():
    checked = make_reference("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    assert max(len(line) for line in page.splitlines()) <= 100


def test_a_reference_that_differs_is_reported_and_left_as_it_is(tmp_path):
    page = tmp_path / "page.md"
    missing = make_reference("--check", page)
    assert missing.returncode == 1 and f"{page}: no such file" in missing.stderr
    assert make_reference(page).returncode == 0 and make_reference("--check", page).returncode == 0
    stale = page.read_text(encoding="utf-8").replace("### offramp.load\n", "### offramp.open\n")
    page.write_text(stale, encoding="utf-8")
    checked = make_reference("--check", page)
    assert checked.returncode == 1
    assert "differs from the docstrings; run python/make_reference" in checked.stderr
    lines = checked.stdout.splitlines()
    assert "-### offramp.open" in lines and "+### offramp.load" in lines
    assert page.read_text(encoding="utf-8") == stale
    assert make_reference("--chek").returncode == 2


def test_a_network_of_pytorch_is_certified(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import certify_pytorch

    result, measured = certify_pytorch.main(tmp_path / "report.html")
    assert result.holds and measured.relative_cost < 1
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["from-pytorch.md", "python.md"])
def test_a_network_of_pytorch_is_imported_as_the_guides_say(page, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = next(block for block in blocks if "offramp.from_torch(" in block)
    classes = ["a", "b", "c"]
    program.write_image_folder(tmp_path / "held-out", classes, 30)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, 3),
    )  # fmt: skip
    exec(
        code.replace("224, 224", "32, 32"),
        {"offramp": offramp, "torch": torch, "net": net, "class_names": classes},
    )
    assert offramp.load("net.safetensors").classes == classes
