import pathlib
import re
import subprocess
import sys

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


def test_the_reference_is_made_from_the_docstrings(tmp_path):
    written = tmp_path / "python-api.md"
    subprocess.run([sys.executable, ROOT / "python" / "make_reference", written], check=True)
    expected = written.read_text(encoding="utf-8")
    assert (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8") == expected, (
        "run python/make_reference"
    )
    longest = max(len(line) for line in expected.splitlines())
    assert longest <= 100


def test_a_network_of_pytorch_is_certified(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import certify_pytorch

    result, measured = certify_pytorch.main(tmp_path / "report.html")
    assert result.holds and measured.relative_cost < 1
    assert "</html>" in (tmp_path / "report.html").read_text(encoding="utf-8")
