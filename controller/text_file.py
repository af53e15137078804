"""Text files that people write, read with errors that name them."""

from __future__ import annotations

from pathlib import Path

from controller.errors import InputError


def read_text(path: Path, error: type[InputError]) -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises
    ------
    InputError : of type ``error``; no such file, or unreadable.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(str(path), "no such file") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise error(str(path), f"cannot be read: {problem}") from None
