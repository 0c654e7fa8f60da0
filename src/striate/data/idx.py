"""IDX, the file format of MNIST and Fashion-MNIST: a magic number, the sizes, the values; all big-endian.

The format is described by its author, Yann LeCun, on the MNIST page: two zero bytes, one byte for the type of the
values, one for the number of axes, then each size in four bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from striate.errors import DataError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in the machine's byte order.

    Raises:
        DataError: the file is no IDX file, is damaged, or holds fewer or more values than its header says.

    Example:
        >>> from tempfile import NamedTemporaryFile
        >>> with NamedTemporaryFile() as file:
        ...     _ = Path(file.name).write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(file.name)
        array([7, 2, 1], dtype=uint8)
    """
    content = _content(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not 1 <= content[3] <= _MOST_AXES:
        raise DataError(
            f"{path} is no IDX file: it starts with the bytes {content[:4].hex(' ') or '(none)'}; expected 00 00, "
            f"a type ({', '.join(f'{code:02x}' for code in _TYPES)}) and the number of axes (1 to {_MOST_AXES})."
        )
    dtype, rank = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{path} is truncated: it ends within its header, after {len(content)} of {start} bytes.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if found != expected:
        fault = "is truncated" if found < expected else "has bytes after its end"
        raise DataError(
            f"{path} {fault}: its header says {shape} values of {dtype.itemsize} bytes, {expected:,} bytes in all, "
            f"but {found:,} follow. Fetch or write the file again."
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). Fetch or write it again.") from error
