"""Networks of PyTorch as model files."""

from __future__ import annotations

import atexit
import contextlib
import copy
import dataclasses
import inspect
import io
import os
import pathlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from ._core import Error, UsageError
from ._model import load
from ._workflow import Imported, imported_with_input

_OPSET = 17
_OPSET_OF_DYNAMO = 18  # the oldest that it writes without a conversion
# Two ways of computing in f32 differ by 1e-6 to 1e-4.
_MOST_DIFFERENCE = 1e-3
# A module's own logits may differ more from those in double precision: in half precision (0.005 for
# ResNet-18 in bf16), in TF32, or where rounding grows from layer to layer.
_MOST_ROUNDING = 0.02
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile


def from_torch(
    module: Any,
    example_input: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    arch: str | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    mean: Any = None,
    std: Any = None,
    fit: str = "crop",
    data: str | os.PathLike[str] | None = None,
) -> Imported:
    """Makes a model file of a trained classifier of PyTorch, through ``torch.onnx.export``.

        imported = offramp.from_torch(net, torch.randn(1, 3, 224, 224), "net.safetensors")
        session = offramp.load(imported).session()

    The module is exported in evaluation mode, and each of its submodules has its own mode again
    afterwards. The logits of the model for the example input are compared with the module's.

    Args:
        module: a ``torch.nn.Module`` whose output is logits [N, classes]; or, with `arch`, a state
            dict.
        example_input: float tensor [N, C, H, W], normalised as the module expects it. The model
            takes images of this height and width.
        out: the model file; None: a temporary file, which is deleted when Python exits.
        arch: the network of torchvision that the state dict is of, such as "resnet50". The number
            of classes is read from the state dict; prefixes "module." and "_orig_mod." are removed.
        labels, mean, std, fit, data: as those of `import_onnx`.

    Raises:
        TypeError: `module` is neither a module nor a state dict.
        ValueError: arguments that make no sense; a module that cannot run the example input, or
            whose output is not [N, classes].
        Error: torch or torchvision is not installed; the module cannot be exported, has operations
            that are not supported, or gives other logits than the model.
    """
    torch = _pytorch("from_torch")
    if isinstance(module, Mapping):
        if arch is None:
            raise UsageError(
                'arch: a state dict needs the name of its network in torchvision, such as "resnet50"'
            )
        module = _with_weights(arch, module)
    elif not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"module: expected a torch.nn.Module or a state dict, got {type(module).__name__}"
        )
    elif arch is not None:
        raise UsageError("arch: goes with a state dict, not with a module")
    example = _example(torch, module, example_input)
    name = type(module).__name__
    if out is not None:
        paths = [one for one in (labels, data) if isinstance(one, (str, bytes, os.PathLike))]
        _core.check_output(os.fsdecode(out), [os.fsdecode(one) for one in paths])
    with tempfile.TemporaryDirectory(prefix="offramp-") as folder:
        network = pathlib.Path(folder) / f"{name}.onnx"
        with _evaluating(module), torch.no_grad():
            expected = _logits(module, example)
            _export(torch, module, example, network, "from_torch")
        # Nothing is written to `out` before the logits were compared.
        tried = pathlib.Path(folder) / "model.safetensors"
        try:
            imported, scale, shift = imported_with_input(
                network, tried, labels, None, mean, std, fit, data
            )
            difference, notes = _compare(torch, module, example, expected, imported, scale, shift)
        except Error as error:
            raise type(error)(str(error).replace(str(network), name)) from None
        path = _keep_temporary(tried, name) if out is None else os.fsdecode(out)
        if out is not None:
            _core.copy_file(str(tried), path)
    return dataclasses.replace(
        imported, path=path, difference=difference, notes=imported.notes + notes
    )


def state_dict(
    model: str | os.PathLike[str],
    module: Any = None,
    example_input: Any = None,
    *,
    strict: bool = True,
) -> dict[str, Any]:
    """The weights of a model file as a state dict of PyTorch.

        net.load_state_dict(offramp.state_dict("net.safetensors", net, example_input))
        weights = offramp.state_dict("net.safetensors")

    With a module, which the model was imported from: its state dict. The weights of `module` do not
    matter, only its layers: it is exported as by `from_torch`, to find out which tensors of a model
    file are its parameters. Early exits that were added to the model are not part of the module and
    are left out.

    Without a module: all weights, by their names in the file. Those of a head begin with
    ``exits.<k>.``, of exit k from 1. The other names are torchvision's where `offramp.train` built
    the network.

    Args:
        model: the model file, in f32, or a run folder.
        module: the ``torch.nn.Module``, or one that was built in the same way; or None.
        example_input: as that of `from_torch`; it goes with a module.
        strict: whether every parameter and buffer must be in the model file. A parameter is not,
            if it is joined with those of another layer: scales of layers (ConvNeXt), batch norms of
            vectors; or if the logits in evaluation mode do not depend on it: auxiliary heads
            (GoogLeNet). False: these are left out, for ``load_state_dict(state, strict=False)`` of
            a module that has them already.

    Returns:
        Tensors on the CPU, by the names and in the shapes and dtypes of ``module.state_dict()``.
        ``num_batches_tracked``, which is not in a model file, is the module's own.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `module` is no module.
        ValueError: a module that cannot run the example input; a model of another network; a module
            without an example input, or the reverse.
        Error: torch is not installed; the module cannot be exported or imported; with `strict`, a
            parameter is not in the file; the file was quantized.
    """
    torch = _pytorch("state_dict")
    if not (module is None or isinstance(module, torch.nn.Module)):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if (module is None) != (example_input is None):
        raise UsageError("state_dict: a module and an example input go together")
    path = _core.find_model(os.fsdecode(model))
    stored = _core.read_weights(path)
    quantized = Error(
        f"{path}: the weights are quantized, and PyTorch needs those in floating point; take the "
        "file that it was quantized from"
    )
    if module is None:
        if any(value is None for value in stored.values()):
            raise quantized
        return {key: torch.from_numpy(value) for key, value in stored.items()}
    example = _example(torch, module, example_input)
    name = type(module).__name__
    with tempfile.TemporaryDirectory(prefix="offramp-") as folder:
        network, plain = pathlib.Path(folder) / f"{name}.onnx", pathlib.Path(folder) / "plain"
        with _evaluating(module), torch.no_grad():
            _logits(module, example)
            _export(torch, module, example, network, "state_dict")
        try:
            imported_with_input(network, plain, None, None, None, None, "crop", None)
        except Error as error:
            raise type(error)(str(error).replace(str(network), name)) from None
        of_module = _core.read_weights(str(plain))
    own = module.state_dict()
    kept = {key for key, value in own.items() if _is_stored(value, of_module.get(key))}
    lost = [key for key in own if key not in kept and not key.endswith("num_batches_tracked")]
    if lost and strict:
        raise Error(
            f"state_dict: {_some(lost)} of the module cannot be read from a model file: joined "
            "with another layer, or not used by the logits; strict=False leaves them out"
        )
    for key, value in of_module.items():
        if key not in stored:
            raise UsageError(
                f'{path}: not a model of this module: tensor "{key}" is missing, expected '
                f"{list(value.shape)}"
            )
        here = stored[key]
        if here is None:
            raise quantized
        if here.shape != value.shape:
            raise UsageError(
                f'{path}: not a model of this module: tensor "{key}" is {list(here.shape)}, '
                f"expected {list(value.shape)}"
            )
        if strict and key not in kept and not np.array_equal(here, value):
            raise UsageError(
                f'{path}: not a model of this module: tensor "{key}", which is none of its '
                "parameters, has other values"
            )
    return {
        key: torch.from_numpy(stored[key].reshape(value.shape).copy()).to(value.dtype)
        if key in kept
        else value.detach().cpu().clone()
        for key, value in own.items()
        if key in kept or key.endswith("num_batches_tracked")
    }


def _is_stored(value: Any, tensor: np.ndarray | None) -> bool:
    """Whether a tensor of a model file has the values of a module's parameter. A linear layer may
    be stored as a convolution of 1x1."""
    if tensor is None or value.numel() != tensor.size or not value.is_floating_point():
        return False
    return np.array_equal(value.detach().float().cpu().numpy(), tensor.reshape(value.shape))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f'"{name}"' for name in names[:3]) + more


def _pytorch(call: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise Error(f"{call}: needs PyTorch: {error}") from error
    return torch


def _example(torch: Any, module: Any, example: Any) -> Any:
    """The example input on the module's device."""
    if not isinstance(example, torch.Tensor):
        raise UsageError(f"example_input: expected a tensor, got {type(example).__name__}")
    if example.ndim != 4 or example.shape[1] not in (1, 3) or 0 in example.shape:
        raise UsageError(
            "example_input: expected [N, C, H, W] of 1 or 3 channels, got a tensor of shape "
            f"{list(example.shape)}"
        )
    if not example.is_floating_point():
        raise UsageError(
            f"example_input: expected normalised floating-point numbers, got {example.dtype}"
        )
    weight = next(module.parameters(), example)
    return example.detach().to(weight.device)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    before = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, training in before:
            one.training = training


def _first_line(error: BaseException) -> str:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()  # without colours
    return lines[0].rstrip(" :") if lines else type(error).__name__


def _logits(module: Any, example: Any) -> np.ndarray:
    """float32 [N, classes], what the module answers."""
    try:
        output = module(example)
    except Exception as error:
        raise UsageError(
            f"example_input: the module cannot run it: {_first_line(error)}"
        ) from error
    if not hasattr(output, "detach"):
        raise UsageError(
            f"module: expected logits [N, classes] as its output, got {type(output).__name__}; a "
            "network with several outputs needs a module around it that returns the last"
        )
    if output.ndim != 2 or output.shape[0] != example.shape[0]:
        raise UsageError(
            f"module: expected logits [{example.shape[0]}, classes] as its output, got shape "
            f"{list(output.shape)}"
        )
    logits = output.detach().float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise UsageError("module: its logits for example_input are not finite")
    return logits


def _export(torch: Any, module: Any, example: Any, path: pathlib.Path, call: str) -> None:
    """Writes the ONNX file: by tracing, and where this fails by the exporter of newer versions."""
    batch = {0: "batch"}
    ways = [{"opset_version": _OPSET, "dynamic_axes": {"image": batch, "logits": batch}}]
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        ways[0]["dynamo"] = False
        ways.append({"opset_version": _OPSET_OF_DYNAMO, "dynamo": True})
    failures = []
    for way in ways:
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                # About values that a trace keeps: the logits are compared afterwards.
                warnings.simplefilter("ignore")
                # In evaluation mode, but a batch norm stays beside its convolution: the model's
                # weights are those of the module.
                torch.onnx.export(
                    module, (example,), str(path), input_names=["image"], output_names=["logits"],
                    training=torch.onnx.TrainingMode.PRESERVE, verbose=False, **way,
                )  # fmt: skip
            return
        except Exception as error:
            failures.append(error)
    raise Error(
        f"{call}: torch.onnx.export failed: " + "; ".join(map(_first_line, failures))
    ) from failures[0]


def _compare(
    torch: Any,
    module: Any,
    example: Any,
    expected: np.ndarray,
    imported: Imported,
    scale: np.ndarray,
    shift: np.ndarray,
) -> tuple[float, list[str]]:
    """max|a - b| / max|b| of the model's logits a and those expected, b, for the example; notes."""
    images = example.float().cpu().numpy()
    if scale.size > 0:
        images = images * scale[:, None, None] + shift[:, None, None]
    with load(imported, "f32") as model:
        logits = model.session().logits(np.ascontiguousarray(images, np.float32))[-1]
    # A softmax at the end of the module is left out of the model.
    log_softmax = logits - logits.max(1, keepdims=True)
    log_softmax = log_softmax - np.log(np.exp(log_softmax).sum(1, keepdims=True))
    has_softmax = any("softmax" in note for note in imported.notes)
    answers = (logits, log_softmax, np.exp(log_softmax)) if has_softmax else (logits,)

    def difference_from(other: np.ndarray) -> float:
        return min(_relative_difference(one, other) for one in answers)

    difference = difference_from(expected)
    if difference <= _MOST_DIFFERENCE:
        return difference, []
    exact = _logits_in_double(torch, module, example)
    rounding = ""
    if exact is not None:
        of_model, of_module = difference_from(exact), _relative_difference(expected, exact)
        if of_model <= max(_MOST_DIFFERENCE, min(2 * of_module, _MOST_ROUNDING)):
            return difference, [
                f"the module's logits for example_input differ by {of_module:.1e} of the largest "
                f"from those that it computes in double precision, the model's by {of_model:.1e}"
            ]
        rounding = f", and by {of_model:.2g} from those that it computes in double precision"
    raise Error(
        f"from_torch: for example_input the model's logits differ by {difference:.2g} of the "
        f"largest from the module's{rounding}; what the module computes must not depend on the "
        "values of its input in another way than by its layers"
    )


def _relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    """max|a - b| / max|b|"""
    size = max(float(np.abs(other).max()), np.finfo(np.float32).tiny)
    return float(np.abs(one - other).max()) / size


def _logits_in_double(torch: Any, module: Any, example: Any) -> np.ndarray | None:
    """float64 [N, classes], computed by a copy of the module; None if it cannot be copied or run."""
    try:
        with torch.no_grad():
            exact = copy.deepcopy(module).cpu().double().eval()(example.cpu().double())
        return exact.numpy() if exact.dtype == torch.float64 else None
    except Exception:
        return None


def _with_weights(arch: str, state: Mapping[str, Any]) -> Any:
    """The network of torchvision with the weights of a state dict."""
    try:
        import torchvision
    except ImportError as error:
        raise Error(f"arch: needs torchvision: {error}") from error
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise UsageError(f'arch: unknown network "{arch}"; known: {", ".join(known)}')
    if arch.startswith(("googlenet", "inception")):
        raise UsageError(
            f"arch: a state dict of {arch} does not say whether the network was built with "
            "transform_input=True; pass the module"
        )
    for key, value in state.items():
        if not hasattr(value, "detach"):
            raise UsageError(
                f'module: "{key}" of the state dict is no tensor but {type(value).__name__}; pass '
                'the entry of the checkpoint that holds the weights, such as checkpoint["model"]'
            )
    while prefix := next(
        (p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), ""
    ):  # both, if a wrapped module was compiled
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    network = torchvision.models.get_model(arch, weights=None)
    # The weights of the classifier are the last ones with a row for each class.
    classifier = [key for key, value in network.state_dict().items() if value.shape[:1] == (1000,)]
    given = state.get(classifier[-1])
    if given is not None and given.ndim > 0 and given.shape[0] != 1000:
        network = torchvision.models.get_model(arch, weights=None, num_classes=given.shape[0])
    _check_state(arch, {key: value.shape for key, value in network.state_dict().items()}, state)
    network.load_state_dict(state, strict=False)
    return network


def _check_state(arch: str, shapes: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    wrong = [
        f'"{key}" is missing'
        for key in shapes
        if key not in state and not key.endswith("num_batches_tracked")  # not used here
    ]
    wrong += [f'"{key}" is unknown' for key in state if key not in shapes]
    wrong += [
        f'"{key}" is {list(state[key].shape)} instead of {list(shape)}'
        for key, shape in shapes.items()
        if key in state and state[key].shape != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(f"module: the state dict is not of {arch}: {', '.join(wrong[:3])}{more}")


def _keep_temporary(file: pathlib.Path, name: str) -> str:
    """Moves a file to a folder that is deleted when Python exits, and returns its path there."""
    folder = tempfile.mkdtemp(prefix="offramp-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked child
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return str(file.rename(os.path.join(folder, f"{name}.safetensors")))
