"""Lines of a trace file, plain or gzip, in constant memory, and as much of a damaged file as can be had.

Whether a file is compressed is told by its first two bytes, never by its name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from controller.errors import TraceError
from replay.rows import DropReason, Drops

LONGEST_LINE_BYTES = 1 << 20
"""A Mooncake row of a million tokens has some 20 KiB of block ids; nothing that is a row comes near this."""
_CHUNK_BYTES = 1 << 16
_MOST_INFLATED_BYTES = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS = 31


def read_lines(path: Path, drops: Drops) -> Iterator[bytes]:
    r"""Yield the lines of a file without their ``\n``; a last line needs none.

    A line above :data:`LONGEST_LINE_BYTES` is skipped and counted. Where compressed data is damaged or ends early,
    the whole lines before that point are yielded, the rest counts as one ``corrupt`` row. Lines that are yielded
    are the caller's to count.

    Raises
    ------
    TraceError : there is no such file, or it cannot be read.
    """
    held = b""
    is_skipping = False
    try:
        for chunk in _chunks(path):
            lines = (held + chunk).split(b"\n")
            held = lines.pop()
            if is_skipping and lines:
                del lines[0]
                is_skipping = False
            yield from lines
            if is_skipping:
                held = b""
            elif len(held) > LONGEST_LINE_BYTES:
                drops.rows += 1
                drops.drop(DropReason.TOO_LONG, f"{path.name}: a line above {LONGEST_LINE_BYTES} bytes")
                held, is_skipping = b"", True
    except _BrokenGzipError as error:
        drops.rows += 1
        drops.drop(DropReason.CORRUPT, f"{path.name}: {error}")
    except FileNotFoundError:
        raise TraceError(str(path), "no such file") from None
    except IsADirectoryError:
        raise TraceError(str(path), "is a folder: name the files in it") from None
    except OSError as error:
        raise TraceError(str(path), f"cannot be read: {error.strerror or error}") from None
    else:
        if held:
            yield held


class _BrokenGzipError(Exception):
    """The compressed data is damaged, or ends before its end."""


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == _GZIP_MAGIC
        stream.seek(0)
        if is_gzip:
            yield from _inflate(stream)
        else:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


def _inflate(stream: BinaryIO) -> Iterator[bytes]:
    """Decompress all members of a gzip stream; zeros behind the last are padding, as gzip itself has it.

    zlib drops what it has inflated of a chunk when it meets an error in it. So the chunk is then fed again, byte by
    byte, to a copy of the state before it: what stands before the damage is kept.
    """
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    while data := stream.read(_CHUNK_BYTES):
        while data:
            if inflater.eof:
                data = data.lstrip(b"\0")
                if not data:
                    break
                inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
            before = inflater.copy()
            try:
                inflated = inflater.decompress(data, _MOST_INFLATED_BYTES)
            except zlib.error as error:
                yield from _salvage(before, data)
                raise _BrokenGzipError(f"damaged gzip data ({error})") from None
            if inflated:
                yield inflated
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof:
        yield inflater.flush()
        raise _BrokenGzipError("the gzip data ends early")


def _salvage(inflater: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        try:
            inflated = inflater.decompress(data[position : position + 1])
        except zlib.error:
            return
        if inflated:
            yield inflated
