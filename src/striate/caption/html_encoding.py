"""The encoding of an HTML page, and its tags as text whose places are those of its bytes."""

from __future__ import annotations

import codecs
import html as references
import re

from striate.caption.html_scanner import tags
from striate.errors import DataError

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Where the standard (Encoding, 4.2) reads a name more generously than Python does.
_ENCODINGS = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gbk", "shift_jis": "cp932"}
_ENCODINGS |= {"euc_kr": "cp949", "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8"}
_ASCII = bytes(range(32, 127)).replace(b"\\", b"") + rb"\n\u0041"
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);")


class EncodedPage:
    """A page as text that goes back to the very same bytes, even where they are broken.

    In UTF-16 that is the decoded page. In every other encoding that is edited, a byte below 128 is always that ASCII
    character wherever it matters to tags; so the text has one character for each byte, and none needs to be understood.

    Args:
        html: The page.

    Raises:
        DataError: the page's encoding cannot be edited, or its bytes are not of its encoding.

    Example:
        >>> page = EncodedPage("<meta charset=gbk>犬".encode("gbk"))
        >>> page.read(page.text[18:]), page.encoded(page.text[:18] + page.written("犬é🐕"))
        ('犬', b'<meta charset=gbk>\\xc8\\xae\\xa8\\xa6&#128021;')
    """

    def __init__(self, html: bytes) -> None:
        self._encoding = page_encoding(html)
        self._wide = self._encoding.startswith("utf-16")
        self._surface, self._errors = (self._encoding, "surrogatepass") if self._wide else ("latin-1", "strict")
        self.reading = _reading(html)
        """The encoding to read the page in."""
        try:
            self.text = html.decode(self._surface, self._errors)
        except UnicodeDecodeError as error:
            raise DataError(f"The page begins as {self._encoding.upper()} and is none: {error.reason}.") from None

    def read(self, raw: str) -> str:
        """What a piece of `text` says: decoded, and its character references resolved."""
        if not self._wide:
            raw = raw.encode("latin-1").decode(self.reading, "replace")
        return _REFERENCE.sub(lambda found: references.unescape(found[0]), raw)

    def written(self, text: str) -> str:
        """A piece of `text` that says this; numeric references stand for what the encoding lacks."""
        return text if self._wide else b"".join(_encoded(each, self._encoding) for each in text).decode("latin-1")

    def encoded(self, text: str) -> bytes:
        """The page's bytes after its `text` was edited."""
        return text.encode(self._surface, self._errors)


def page_encoding(html: bytes) -> str:
    """Python's name of a page's encoding: by its byte order mark, or a `<meta>` in its first 1,024 bytes; else "ascii".

    Raises:
        DataError: the page declares an encoding in which tags cannot be told from text, such as ISO-2022-JP.
    """
    for mark, encoding in _MARKS.items():
        if html.startswith(mark):
            return encoding
    for tag in tags(html[:1024].decode("latin-1")):
        if tag.name == "meta" and not tag.closing:
            declared = tag.value("charset").strip()
            if tag.value("http-equiv").strip().lower() == "content-type" and not declared:
                found = re.search(r"""charset\s*=\s*["']?([^"'\s;]+)""", tag.value("content"), re.IGNORECASE)
                declared = found[1] if found else ""
            if declared:
                return _known(declared)
    return "ascii"


def _known(declared: str) -> str:
    try:
        name = codecs.lookup(declared).name
    except (LookupError, ValueError):  # browsers pass over a name that they do not know
        return "ascii"
    name = _ENCODINGS.get(name, name)
    try:
        if _ASCII.decode(name) == _ASCII.decode("ascii") and not name.startswith("iso2022"):
            return name
    except (LookupError, UnicodeError):
        pass
    raise DataError(f"The page declares the encoding {declared!r}, in which it is not edited; save it as UTF-8.")


def _reading(html: bytes) -> str:
    """What to read a page as; one that does not say so is UTF-8 if it can be, otherwise Windows-1252."""
    encoding = page_encoding(html)
    if encoding != "ascii":
        return encoding
    try:
        html.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _encoded(character: str, encoding: str) -> bytes:
    """A character in an encoding, or a reference to it where it would come back as none or as another."""
    try:
        encoded = character.encode(encoding)
        if encoded.decode(encoding) == character:
            return encoded
    except UnicodeError:
        pass
    return f"&#{ord(character)};".encode()
