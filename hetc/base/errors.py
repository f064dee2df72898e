"""The errors a user can cause, each with the exit code that the command line gives it."""

__all__ = [
    "HetcError",
    "InvalidInputError",
    "OutputError",
    "RuntimeMissingError",
    "UsageError",
    "VerificationError",
]


class HetcError(Exception):
    """Base of every error that hetc raises on purpose; the message names what, where, and the next step."""

    exit_code = 1


class UsageError(HetcError):
    """A bad option: fraction outside 0..1, missing path, pin that matches nothing, existing output."""

    exit_code = 2


class InvalidInputError(HetcError):
    """A model, plan or profile that cannot be used."""

    exit_code = 3


class VerificationError(HetcError):
    """A bundle that does not do what its plan says."""

    exit_code = 4


class RuntimeMissingError(HetcError):
    """A runtime or library that is missing, too old, or doesn't load."""

    exit_code = 5


class OutputError(HetcError):
    """An output that can't be written: full disk, no permission, read-only, name too long, missing folder."""

    exit_code = 6
