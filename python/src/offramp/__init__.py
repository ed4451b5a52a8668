"""Early-exit image classifiers: run them, certify them, report on them.

    import offramp

    model = offramp.load("model.safetensors")
    session = model.session()
    print(session.classify("image.jpg"))

`offramp.policy` and `offramp.metrics` work on the logits of any early-exit network, as arrays;
`offramp.report` writes a page about them.
"""

from . import metrics, policy
from ._answers import Answer, Answers
from ._core import Cancellation, Error, Stop, UsageError
from ._core import version as __version__
from ._model import AsyncSession, Guarantee, Model, PolicyStep, Session, Stats, load
from ._report import Report, report
from ._torch import from_torch, state_dict
from ._train import Epoch, FoundExits, Trained, exits, train
from ._workflow import (
    Calibration,
    ExitLoss,
    Exported,
    Imported,
    Quantized,
    calibrate,
    export_onnx,
    import_onnx,
    quantize,
)

for _error in (Error, UsageError):
    _error.__module__ = __name__  # as messages and tracebacks show it

__all__ = [
    "Answer",
    "Answers",
    "AsyncSession",
    "Calibration",
    "Cancellation",
    "Epoch",
    "Error",
    "ExitLoss",
    "Exported",
    "FoundExits",
    "Guarantee",
    "Imported",
    "Model",
    "PolicyStep",
    "Quantized",
    "Report",
    "Session",
    "Stats",
    "Stop",
    "Trained",
    "UsageError",
    "__version__",
    "calibrate",
    "exits",
    "export_onnx",
    "from_torch",
    "import_onnx",
    "load",
    "metrics",
    "policy",
    "quantize",
    "report",
    "state_dict",
    "train",
]
