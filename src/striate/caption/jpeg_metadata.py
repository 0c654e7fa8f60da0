"""The XMP packet of a JPEG file: a segment of its own before the compressed image, which is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from striate.caption.xmp_packet import without_padding
from striate.errors import DataError

SIGNATURE = b"\xff\xd8\xff"
_PACKET = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0\0"
_PICTURES = b"MPF\0"
_LARGEST = 65_533  # bytes in a segment: its length takes two bytes, and counts them
_APP0, _APP1, _APP2, _SCAN, _END = 0xE0, 0xE1, 0xE2, 0xDA, 0xD9


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    end: int
    payload: bytes

    def holds(self, marker: int, name: bytes) -> bool:
        return self.marker == marker and self.payload.startswith(name)


def read_packets(content: bytes) -> tuple[bytes | None, bytes | None]:
    """The file's XMP packet and its extended XMP, or None for what it does not have.

    Raises:
        DataError: the file is truncated, its lengths do not fit together, or it has two packets.
    """
    segments = list(_segments(content))
    packet = _packet(segments)
    parts = [each.payload[len(_EXTENSION) :] for each in segments if each.holds(_APP1, _EXTENSION)]
    # Each part: an identifier of 32 bytes, the length of the whole, the offset of this part, and its text.
    ordered = sorted(parts, key=lambda part: part[36:40])
    extension = b"".join(part[40:] for part in ordered)
    if any(int.from_bytes(part[32:36], "big") != len(extension) for part in parts):
        raise DataError("Its extended XMP is not complete.")
    return packet.payload[len(_PACKET) :] if packet else None, extension or None


def with_packet(content: bytes, packet: bytes) -> bytes:
    """The file with this XMP packet, in the place of its former one or behind its EXIF.

    Raises:
        DataError: the file is broken, the packet is too long for a segment, or further pictures would be lost.
    """
    segments = list(_segments(content))
    former = _packet(segments)
    if former is None:
        at = len(SIGNATURE) - 1
        for segment in segments:
            if segment.marker != _APP0 and not segment.holds(_APP1, _EXIF):
                break
            at = segment.end
        start = end = at
    else:
        start, end = former.start, former.end
    if any(each.holds(_APP2, _PICTURES) and each.start < start for each in segments):
        raise DataError("Its XMP packet lies behind its index of further pictures, whose places would be wrong.")
    if len(_PACKET) + len(packet) > _LARGEST:
        packet = without_padding(packet)
    payload = _PACKET + packet
    if len(payload) > _LARGEST:
        raise DataError(f"With the caption its XMP packet has {len(packet):,} bytes; a JPEG file holds about 65,500.")
    segment_bytes = bytes((0xFF, _APP1)) + (len(payload) + 2).to_bytes(2, "big") + payload
    return content[:start] + segment_bytes + content[end:]


def _packet(segments: list[_Segment]) -> _Segment | None:
    packets = [each for each in segments if each.holds(_APP1, _PACKET)]
    if len(packets) > 1:
        raise DataError(f"It has {len(packets)} XMP packets, and a JPEG file has one at most.")
    return packets[0] if packets else None


def _segments(content: bytes) -> Iterator[_Segment]:
    """Every segment before the compressed image; the image itself must be there to its end."""
    position = len(SIGNATURE) - 1
    while True:
        start = position
        while content[position : position + 1] == b"\xff":  # any number of these may precede a marker
            position += 1
        marker, length = content[position : position + 1], content[position + 1 : position + 3]
        if position == start or len(length) < 2:
            raise DataError(f"The JPEG file is broken or truncated: no segment at byte {start:,}.")
        if marker[0] == _SCAN:
            break
        end = position + 1 + int.from_bytes(length, "big")
        if marker[0] < 0xC0 or 0xD0 <= marker[0] <= _END or end < position + 3 or end > len(content):
            raise DataError(f"The JPEG file is broken or truncated in the segment at byte {start:,}.")
        yield _Segment(marker[0], start, end, content[position + 3 : end])
        position = end
    if bytes((0xFF, _END)) not in content[position:]:
        raise DataError("The JPEG file is truncated: its image has no end.")
