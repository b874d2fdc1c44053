"""Errors a user may see. Every text says what was expected, what was found, and what to do."""


class AvatarError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback.

    Args:
        what: One sentence naming the thing that failed.
        expected: What would have been right.
        found: What was there instead.
        fix: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        parts = [what.rstrip(".") + "."]
        parts += [
            f"{label}: {text.rstrip('.')}."
            for label, text in (("Expected", expected), ("Found", found), ("To do", fix))
            if text
        ]
        super().__init__("\n  ".join(parts))
        self.what, self.expected, self.found, self.fix = what, expected, found, fix


class InputError(AvatarError):
    """The user's input cannot be used: a path, a clip, an option, a tensor."""

    exit_code = 2


class FormatError(InputError):
    """A file is not what its name or schema says."""


class PartError(InputError):
    """A pretrained part could not be had or does not match its checksum."""


class BackendError(InputError):
    """A rasteriser backend was asked for that cannot run on this machine."""


class TrainingError(AvatarError):
    """Training cannot go on: a term of its objective is not finite."""


class MemoryLimitError(InputError):
    """The work took more memory than it was allowed, or than there is."""


class SlowBackendWarning(UserWarning):
    """Plain torch does what the native library would, because that is not installed."""
