"""From a trained network to what is served: `swap.onnx`, its card and its calibration.

The card names the file's digest, what it was trained on and how, the figures and the limits. A network whose ONNX form
answers differently is refused, and so is one that is larger than what a package should carry.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detectors.calibration import Calibration
from detectors.runtime import bare_session
from detectors.swap import CARD_VERSION, sharpness
from detectors.training.errors import TrainingError
from detectors.training.swap_data import FaceCrop, launder
from detectors.training.swap_evaluation import Logistic, Reals

MOST_DIFFERENCE = 1e-3
MOST_BYTES = 6_000_000
LIMITS = [
    "Trained and tested on 112 px face crops: nothing is claimed of full-resolution swaps.",
    "Tested on faces pasted by another blender, not on swaps by a program that fits pose and light.",
    "Trained on blends of faces of eleven adults in public life, of photographs and of generated pictures. Ages, skin, "
    "make-up and beauty filters were not measured apart.",
    "Seen are blends and reprocessed faces. A picture that was generated as a whole has neither.",
    "Strong resizing and compression take the traces away: see the laundered rows.",
    "Calibrated on what networks and heads of the same making say of people they had not seen.",
]


def export(network: nn.Module, path: Path) -> float:
    """Write the network as ONNX, checked; the largest difference of its answers.

    Raises TrainingError when it differs by more than 1e-3 or the file is too large; then nothing is left at `path`.
    """
    network = network.cpu().eval()
    temporary = path.with_suffix(".part.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its own exporters from within
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 112, 112), torch.zeros(2, 12, 768)),
            str(temporary),
            input_names=["crops", "blocks"],
            output_names=["logit", "where"],
            dynamic_axes={name: {0: "n"} for name in ("crops", "blocks", "logit", "where")},
            opset_version=17,
            dynamo=False,
        )
    try:
        worst = difference(network, temporary)
        if temporary.stat().st_size > MOST_BYTES:
            raise TrainingError(f"The model has {temporary.stat().st_size:,} bytes; {MOST_BYTES:,} are allowed.")
    except TrainingError:
        temporary.unlink()
        raise
    temporary.replace(path)
    return worst


def difference(network: nn.Module, path: Path) -> float:
    """Largest difference between torch's logits and ONNX Runtime's. Raises TrainingError above 1e-3."""
    rng = np.random.default_rng(0)
    inputs = {
        "crops": rng.random((16, 3, 112, 112), dtype=np.float32),
        "blocks": rng.standard_normal((16, 12, 768), dtype=np.float32),
    }
    with torch.no_grad():
        expected = [part.numpy() for part in network(*map(torch.from_numpy, inputs.values()))]
    answers = bare_session(path).run(None, inputs)
    worst = max(float(np.abs(one - two).max()) for one, two in zip(expected, answers, strict=True))
    if not worst <= MOST_DIFFERENCE:
        raise TrainingError(
            f"The ONNX model differs from the trained one by {worst:.2g}; {MOST_DIFFERENCE:g} is allowed.",
            hint="Do not register it; report the versions of torch and onnxruntime.",
        )
    return worst


@dataclass(frozen=True)
class Made:
    """What a training leaves to be served: the network, what calibrates it, and what its card says of the run."""

    network: nn.Module
    logistic: Logistic
    reals: Sequence[Reals]
    record: Mapping[str, Any]


def publish(made: Made, crops: Sequence[FaceCrop], folder: Path) -> dict[str, Any]:
    """Write `swap.onnx`, `swap.calibration.json` and `swap.card.json` into a folder; the card.

    Raises TrainingError for a model that may not be served.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "swap.onnx"
    worst = export(made.network, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    negatives = made.logistic.probability(np.concatenate([part.negatives() for part in made.reals]))
    photographs = sum(len(part.photos) for part in made.reals)
    source = (
        f"{len(negatives)} draws of real crops, as they are or resampled and saved as JPEG at random, each scored by a "
        f"network and a head that had not seen the person; half of them, by repetition, of {photographs} faces in photographs."
    )
    calibration = Calibration.fit(negatives, model=f"swap@{sha256[:12]}", source=source)
    calibration.write(folder / "swap.calibration.json")
    card = {
        "card": CARD_VERSION,
        "name": "swap",
        "sha256": sha256,
        "licence": "Apache-2.0",
        "input": "crops: float32 (n, 3, 112, 112), RGB in [0, 1], aligned to detectors.faces.FIVE_POINTS; "
        "blocks: float32 (n, 12, 768), the class tokens that `embedding` leaves of the same crops",
        "output": "logit (n,); where (n, 14, 14): logits of the pasted part",
        "slope": made.logistic.slope,
        "offset": made.logistic.offset,
        "least_sharpness": least_sharpness(crops),
        "onnx_difference": float(f"{worst:.2g}"),
        **made.record,
        "limits": LIMITS,
    }
    temporary = folder / "swap.card.part"
    temporary.write_text(json.dumps(card, indent=1) + "\n")
    temporary.replace(folder / "swap.card.json")
    return card


def least_sharpness(crops: Sequence[FaceCrop]) -> float:
    """What 99 in 100 portraits exceed after the strongest resampling that was tested."""
    values = [sharpness(launder(crop.pixels, 0.55, 60)) for crop in crops if crop.use == "portrait"]
    return round(float(np.quantile(values, 0.01)), 2)
