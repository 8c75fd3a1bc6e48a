"""What the generator refuses. Each message names the value and the limit; the hint is the mend."""

from detectors.errors import ModelError, ModerationError

__all__ = ["DatasetError", "GuardRefusalError", "ModelError", "RecipeError", "TrainingError"]


class RecipeError(ModerationError):
    """A recipe cannot be used. `file`, `line` and `field` say where."""

    code = "recipe_invalid"
    status = 422

    def __init__(self, message: str, *, file: str = "", line: int = 0, field: str = "", hint: str = "") -> None:
        where = ":".join(part for part in (file, str(line) if line else "", f" {field}" if field else "") if part)
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.file, self.line, self.field = file, line, field


class GuardRefusalError(ModerationError):
    """The guard forbids a prompt. `rule` is the guard's rule; the text of the prompt is never repeated."""

    code = "prompt_refused"
    status = 422

    def __init__(self, message: str, *, rule: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.rule = rule


class DatasetError(ModerationError):
    """A dataset cannot be written or read, or is not what its manifest says."""

    code = "dataset_invalid"
    status = 422


class TrainingError(ModerationError):
    """Training cannot start or had to stop. The last good checkpoint is kept."""

    code = "training_stopped"
