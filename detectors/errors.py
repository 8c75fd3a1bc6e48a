"""The one error base of Palisade: everything a caller can mend says so in the same shape."""

from typing import ClassVar


class ModerationError(Exception):
    """Something a caller can understand: `code` for programs, `message` and `hint` for people.

    `message` names what was wrong, with the value and the limit; `hint` says what to do about it.
    `status` is the HTTP status that the API answers with. Subclasses fix `code` and `status`.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self._code = code or type(self).code
        self._status = status or type(self).status

    @property
    def error_code(self) -> str:
        """The stable name of this error, for programs."""
        return self._code

    @property
    def http_status(self) -> int:
        """The HTTP status that fits this error."""
        return self._status

    def as_dict(self) -> dict[str, str]:
        """The JSON shape that the command line and the API share: `code`, `message`, `hint`."""
        return {"code": self.error_code, "message": self.message, "hint": self.hint}


class ModelError(ModerationError):
    """A model is missing, is not the file it should be, or cannot be loaded."""

    code = "model_unavailable"
    status = 503
