"""Why a detector cannot be trained, evaluated or exported."""

from detectors.errors import ModerationError


class TrainingError(ModerationError):
    """The data, the run or its result is not fit: the message names the value and the limit."""

    code = "training_refused"
    status = 422
