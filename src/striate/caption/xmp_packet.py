"""Descriptions inside an XMP packet: read, and edited in place, so that every other byte of the packet stays.

XMP (ISO 16684-1) is RDF in XML. A description is a language alternative: one text for each language, and `x-default`
for all others. Two properties carry a caption: `dc:description`, which programs for photographs show, and
`Iptc4xmpCore:AltTextAccessibility` (IPTC Photo Metadata Standard), which is meant for screen readers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from striate.errors import ArgumentError, DataError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
DEFAULT = "x-default"
NAMESPACES = {
    "dc:description": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpCore:AltTextAccessibility": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
}
EMPTY_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta>\n'
    '<?xpacket end="w"?>'
).encode()
_NAMES = {f"{namespace} {name.split(':')[1]}": name for name, namespace in NAMESPACES.items()}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Property:
    """One property of a packet: its texts by language, and which bytes it takes (none if written as an attribute)."""

    name: str
    texts: list[tuple[str, str]] = field(default_factory=list)
    span: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        """The text for any language: `x-default`, otherwise the first."""
        return next((text for language, text in self.texts if language == DEFAULT), self.texts[0][1])


@dataclass
class _Element:
    name: str
    start: int
    empty: bool = True


class _Packet:
    """What is where in a packet: expat says at which byte a tag is. A DTD is refused, and entities with it."""

    def __init__(self, packet: bytes) -> None:
        self.source = packet.rstrip(b"\0")
        self.about = ""
        self.rdf: tuple[int, int, bool] | None = None  # where it begins and ends, and whether it has an end tag
        self.properties: list[Property] = []
        self._open: list[_Element] = []
        self._text: list[str] = []
        self._parser = expat.ParserCreate("utf-8", " ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        try:
            self._parser.Parse(self.source, True)
        except expat.ExpatError as error:
            raise DataError(f"Its XMP packet is no well-formed XML in UTF-8: {error}.") from None

    def _refuse(self, *_: object) -> None:
        raise DataError("Its XMP packet has a document type declaration, which XMP does not allow.")

    def _in_property(self) -> bool:
        return len(self._open) > 2 and self._open[2].name in _NAMES

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._open:
            self._open[-1].empty = False
        start = self._parser.CurrentByteIndex
        inside = bool(self._open) and self._open[0].name == f"{RDF} RDF"
        if not inside and name == f"{RDF} RDF":
            self._open.clear()  # paths are counted from here: rdf:RDF, rdf:Description, the property
        self._open.append(_Element(name, start))
        if not inside:
            return
        if len(self._open) == 2:
            self.about = self.about or attributes.get(f"{RDF} about", "")
            for key in _NAMES.keys() & attributes.keys():
                self.properties.append(Property(_NAMES[key], [(DEFAULT, attributes[key])]))
        elif len(self._open) == 3 and name in _NAMES:
            self.properties.append(Property(_NAMES[name]))
            self._text = []
        elif self._in_property() and name == f"{RDF} li":
            self.properties[-1].texts.append((attributes.get(LANGUAGE, DEFAULT), ""))
            self._text = []

    def _characters(self, text: str) -> None:
        if self._open:
            self._open[-1].empty = False
        self._text.append(text)

    def _end(self, name: str) -> None:
        if not self._open:  # what rdf:RDF lies in
            return
        index = self._parser.CurrentByteIndex
        element = self._open.pop()
        # For <a/> expat says where the tag ends, for </a> where it begins.
        closed = element.empty and self.source[element.start : index].endswith(b"/>")
        end = index if closed else self.source.index(b">", index) + 1
        if not self._open and name == f"{RDF} RDF":
            self.rdf = (element.start, index, not closed)
        elif len(self._open) == 2 and name in _NAMES:
            found = self.properties[-1]
            found.span = (element.start, end)
            if not found.texts:
                found.texts = [(DEFAULT, "".join(self._text).strip())]
        elif self._in_property() and name == f"{RDF} li":
            found = self.properties[-1]
            found.texts[-1] = (found.texts[-1][0], "".join(self._text))


def read_properties(packet: bytes) -> dict[str, str]:
    """The captions in a packet that are not empty, by the names of their properties.

    Raises:
        DataError: the packet is no XML in UTF-8, or has a DTD.

    Example:
        >>> read_properties(with_properties(EMPTY_PACKET, {"dc:description": "a < b"}))
        {'dc:description': 'a < b'}
    """
    found = _Packet(packet).properties
    return {each.name: each.text for each in reversed(found) if each.text.strip()}


def with_properties(packet: bytes, captions: dict[str, str]) -> bytes:
    """The packet with these captions as the texts for any language.

    A translation stays, unless it is only the former default text under the name of its language.

    Args:
        packet: The packet, in UTF-8.
        captions: The new texts, by the names of their properties.

    Raises:
        ArgumentError: a caption has characters that XML cannot hold.
        DataError: the packet is broken, or writes one of these properties as an attribute.

    Example:
        >>> with_properties(EMPTY_PACKET, {"dc:description": "a dog"}).count(b"a dog")
        1
    """
    for caption in captions.values():
        if forbidden := _NOT_XML.search(caption):
            raise ArgumentError(f"A caption has the character {forbidden[0]!r}, which XML cannot hold; remove it.")
    found = _Packet(packet)
    if found.rdf is None:
        raise DataError("Its XMP packet has no rdf:RDF element.")
    start, end, has_end_tag = found.rdf
    block = ""
    edits = []
    for name, caption in captions.items():
        texts = [(DEFAULT, caption)]
        for former in [each for each in found.properties if each.name == name]:
            if former.span is None:
                raise DataError(f"Its XMP packet has {name} as an attribute; no text for a language can stand there.")
            edits.append((*former.span, b""))
            texts += [
                (language, text) for language, text in former.texts if language != DEFAULT and text != former.text
            ]
        block += _description(name, texts, found.about)
    if has_end_tag:
        edits.append((end, end, block.encode()))
    else:
        tag = re.match(rb"<([^\s/>]+)", found.source[start:])
        assert tag is not None  # expat found an element here
        edits.append((end - len("/>"), end, b">" + block.encode() + b"</" + tag[1] + b">"))
    content = found.source
    for first, last, text in sorted(edits, reverse=True):
        content = content[:first] + text + content[last:]
    return content


def without_padding(packet: bytes) -> bytes:
    """The packet without the blanks before its end, which only leave room for edits in place."""
    before, end, after = packet.rpartition(b"<?xpacket end=")
    return before.rstrip() + end + after


def _description(name: str, texts: list[tuple[str, str]], about: str) -> str:
    prefix = name.split(":")[0]
    items = "".join(
        f"<rdf:li xml:lang={quoteattr(language)}>{escape(text, {chr(13): '&#13;'})}</rdf:li>"
        for language, text in texts
    )
    return (
        f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(about)} xmlns:{prefix}="{NAMESPACES[name]}">'
        f"<{name}><rdf:Alt>{items}</rdf:Alt></{name}></rdf:Description>"
    )
