"""The XMP packet of a PNG file: an iTXt chunk of its own; the chunks of the image are never touched."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from striate.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp\0"
_LARGEST = 2**24  # bytes of a packet once it is unpacked


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    start: int
    end: int
    payload: bytes


def read_packets(content: bytes) -> tuple[bytes | None, bytes | None]:
    """The file's XMP packet or None, and None: a PNG file has no extended XMP.

    Raises:
        DataError: the file is truncated, a chunk does not fit its checksum, or it has two packets.
    """
    chunk = _packet(list(_chunks(content)))
    if chunk is None:
        return None, None
    compressed, method = chunk.payload[len(_KEYWORD) : len(_KEYWORD) + 2].ljust(2, b"\xff")
    parts = chunk.payload[len(_KEYWORD) + 2 :].split(b"\0", 2)  # language, the keyword in it, text
    if compressed not in (0, 1) or len(parts) < 3 or (compressed and method != 0):
        raise DataError("The PNG chunk of its XMP packet is broken.")
    return _unpacked(parts[2]) if compressed else parts[2], None


def with_packet(content: bytes, packet: bytes) -> bytes:
    """The file with this XMP packet, in the place of its former one or as its second chunk."""
    chunks = list(_chunks(content))
    former = _packet(chunks)
    start, end = (former.start, former.end) if former else (chunks[0].end, chunks[0].end)
    body = b"iTXt" + _KEYWORD + b"\0\0\0\0" + packet
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:start] + chunk + content[end:]


def _packet(chunks: list[_Chunk]) -> _Chunk | None:
    packets = [each for each in chunks if each.kind == b"iTXt" and each.payload.startswith(_KEYWORD)]
    if len(packets) > 1:
        raise DataError(f"It has {len(packets)} XMP packets, and a PNG file has one at most.")
    return packets[0] if packets else None


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        packet = unpacker.decompress(data, _LARGEST)
    except zlib.error as error:
        raise DataError(f"Its compressed XMP packet is broken: {error}.") from None
    if not unpacker.eof:
        raise DataError(f"Its compressed XMP packet is truncated or has more than {_LARGEST:,} bytes.")
    return packet


def _chunks(content: bytes) -> Iterator[_Chunk]:
    start, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if end > len(content):
            raise DataError(f"The PNG file is truncated in the chunk at byte {start:,}.")
        body, checksum = content[start + 4 : end - 4], content[end - 4 : end]
        kind = body[:4]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise DataError(f"The PNG file is broken: the chunk at byte {start:,} does not fit its checksum.")
        if start == len(SIGNATURE) and kind != b"IHDR":
            raise DataError(f"The PNG file is broken: it begins with a chunk {kind!r}, not with b'IHDR'.")
        yield _Chunk(kind, start, end, body[4:])
        start = end
