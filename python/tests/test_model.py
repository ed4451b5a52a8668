import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tiny_model
from conftest import SHIPPED

import offramp


def test_says_what_it_is(model):
    assert model.num_exits == 3 and model.has_policy
    assert model.classes == tiny_model.CLASSES
    assert model.input_shape == (3, 32, 32)
    assert model.relative_costs[0] < model.relative_costs[1]
    assert model.macs.dtype == np.int64
    assert "5 classes" in repr(model) and model.precision in repr(model)


def test_takes_any_kind_of_path(model_path):
    assert offramp.load(str(model_path)).classes == offramp.load(pathlib.Path(model_path)).classes


def test_the_models_of_the_repository_run():
    """In int8, or in f32 where this CPU has no instructions for it; both are accurate enough."""
    shipped = offramp.load(SHIPPED)
    assert shipped.precision in ("int8", "f32") and len(shipped.classes) == 10
    assert shipped.session().classify(np.zeros((32, 32, 3), np.uint8)).error is None


def test_a_path_with_a_null_character_is_refused(model_path):
    with pytest.raises(ValueError, match="^path: a null character in it$"):
        offramp.load(f"{model_path}\0.safetensors")


def test_a_missing_file_is_not_found():
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        offramp.load("nowhere.safetensors")


def test_a_file_that_is_no_model_is_refused_with_its_name(tmp_path):
    file = tmp_path / "text.safetensors"
    file.write_text("hello")
    with pytest.raises(offramp.Error, match="text.safetensors: "):
        offramp.load(file)


def test_a_damaged_file_is_refused(tmp_path, model_path):
    whole = model_path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file = tmp_path / "cut.safetensors"
        file.write_bytes(whole[:size])
        with pytest.raises(offramp.Error, match="cut.safetensors: "):
            offramp.load(file)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"threads": -1}, "threads"),
        ({"batch": 0}, "batch"),
        ({"precision": "f8"}, "f8"),
    ],
)
def test_options_that_make_no_sense_are_value_errors(model_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        offramp.load(model_path, **options)
    assert isinstance(caught.value, offramp.Error)


def test_a_closed_model_says_so(model_path, images):
    with offramp.load(model_path, threads=1) as model:
        session = model.session()
        session.classify(images[0])
    for call in (
        lambda: model.classes and model.num_exits,
        lambda: model.session(),
        lambda: session.classify(images[0]),
        lambda: session.classify(images),
        lambda: session.logits(images),
        lambda: session.stats(),
        lambda: list(session.stream(images)),
    ):
        with pytest.raises(offramp.Error, match="^the model is closed$"):
            call()
    assert "closed" in repr(model) and "closed" in repr(session)
    model.close()  # again


def test_the_guarantee_is_in_force_under_the_policy_alone(model):
    guarantee = model.guarantee()
    assert guarantee == offramp.Guarantee("harm", 0.02, 0.05, True, "")
    for other in (model.session(0.9), model.session(deadline_ms=1000), model.session("never")):
        assert other.guarantee().in_force is False
        assert "another rule than the model's policy" in other.guarantee().why


def test_other_kernels_put_the_guarantee_out_of_force(tmp_path):
    model = offramp.load(tiny_model.write(tmp_path / "other.safetensors"))
    guarantee = model.guarantee()
    assert guarantee.in_force is False and "libtorch cpu" in guarantee.why
    assert any(guarantee.why in note for note in model.notes)
    assert model.session().guarantee() == guarantee


def test_a_model_without_a_certificate_has_no_guarantee(tmp_path):
    model = offramp.load(tiny_model.write(tmp_path / "plain.safetensors", certified=False))
    assert model.guarantee() is None and model.session().guarantee() is None


def test_a_guarantee_without_a_check_is_never_bolder():
    """`check=False` runs no image of the file, so it may not know yet."""
    shipped = offramp.load(SHIPPED)
    so_far = shipped.guarantee(check=False)
    checked = shipped.guarantee()
    assert so_far == checked or so_far.in_force is None
    assert shipped.guarantee(check=False) == checked


def run(code, **environment):
    """Runs Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_nothing_leaks_at_exit(model_path):
    done = run(f"""
        import numpy, offramp
        model = offramp.load({str(model_path)!r})
        session = model.session()
        list(session.stream(numpy.zeros((3, 32, 32, 3), numpy.uint8)))
        policy = offramp.policy.Policy([0.5])
        try:
            session.classify("nowhere.png")
        except FileNotFoundError:
            pass
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("threads", [1, 2])
def test_after_a_fork_a_model_raises_and_a_new_one_works(model_path, threads):
    done = run(f"""
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import numpy, offramp
        images = numpy.zeros((20, 32, 32, 3), numpy.uint8)
        model = offramp.load({str(model_path)!r}, threads={threads})
        session = model.session()
        expected = session.classify(images).probability
        child = os.fork()
        if child == 0:
            for call in (lambda: session.classify(images), lambda: session.classify(images[0]),
                         lambda: model.session(), lambda: session.stats()):
                try:
                    call()
                except offramp.Error as error:
                    assert "forked" in str(error)
                else:
                    os._exit(3)
            again = offramp.load({str(model_path)!r}, threads={threads}).session()
            assert (again.classify(images).probability == expected).all()
            again.classify(images[0])
            del model, session, again
            sys.exit(0)
        status = os.waitpid(child, 0)[1]
        assert (session.classify(images).probability == expected).all()
        sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", ["torch", "offramp"])
def test_torch_may_be_imported_before_or_after(first, model_path, model, images):
    pytest.importorskip("torch")
    expected = model.session().classify(images).probability.tobytes().hex()
    second = "offramp" if first == "torch" else "torch"
    done = run(f"""
        import {first}
        import {second}
        import numpy, sys
        sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
        from conftest import make_images
        network = torch.nn.Conv2d(3, 8, 3)
        network(torch.zeros(1, 3, 32, 32))
        session = offramp.load({str(model_path)!r}, threads=2).session()
        print(session.classify(make_images(64)).probability.tobytes().hex())
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected
