"""Which file of a site an address in a page means."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

_SITE = "http://site.invalid/"
_SPACE = "\t\n\f\r "
_CANDIDATE = re.compile(rf"[{_SPACE},]*([^{_SPACE}]+)")
_DESCRIPTORS = re.compile(r"(?:[^(),]|\([^)]*\)?|\))*")


def resolve(address: str, page: str | Path, root: str | Path) -> Path | None:
    """The file that an address in a page means, as a browser would ask the site for it.

    Args:
        address: What `src` says: relative to the page, or to the site's root (`/a.png`); a query and a fragment are
            dropped, percent-encoding is undone.
        page: The page's file, inside `root`.
        root: The site's folder.

    Returns:
        The file, or None: the address is remote or inline, means no file that is there, or one outside the folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "a b.png").touch()
        ...     resolve("../a%20b.png?v=2", Path(root) / "blog" / "page.html", root).name
        'a b.png'
    """
    root = Path(root).resolve()
    try:
        place = Path(page).resolve().relative_to(root).as_posix()
        whole = urlsplit(urljoin(_SITE + quote(place), _plain(address)))
        if not whole.geturl().startswith(_SITE):
            return None
        file = (root / unquote(whole.path).lstrip("/")).resolve()
        return file if file.is_file() and file.is_relative_to(root) else None
    except (ValueError, OSError, RuntimeError):  # no address, no name that a file can have, or a circle of links
        return None


def kind(address: str) -> str:
    """Where an address leads: "inline" (its data is in it), "remote" or "local"."""
    try:
        parts = urlsplit(_plain(address))
    except ValueError:
        return "remote"
    if parts.scheme == "data":
        return "inline"
    return "remote" if parts.scheme or parts.netloc else "local"


def with_base(base: str, address: str) -> str:
    """An address after the page's `<base href>`, relative to the page where the base is.

    Example:
        >>> with_base("img/", "../a.png"), with_base("https://example.org/b/", "a.png"), with_base("img/", "/a.png")
        ('img/../a.png', 'https://example.org/b/a.png', '/a.png')
    """
    base, address = _plain(base), _plain(address)
    if kind(base) == "remote":
        return urljoin(base, address) if kind(address) == "local" else address
    if kind(address) != "local" or kind(base) == "inline" or address.startswith("/"):
        return address
    path = re.split("[?#]", base)[0]
    return path[: path.rfind("/") + 1] + address


def srcset_addresses(srcset: str) -> list[str]:
    """The addresses of a `srcset`, in its order.

    Example:
        >>> srcset_addresses("a.png 1x, b,c.png 640w,d.png")
        ['a.png', 'b,c.png', 'd.png']
    """
    addresses, position = [], 0
    while candidate := _CANDIDATE.match(srcset, position):
        address, position = candidate[1], candidate.end()
        if address.endswith(","):
            address = address.rstrip(",")
        elif descriptors := _DESCRIPTORS.match(srcset, position):
            position = descriptors.end()
        addresses.append(address)
    return [address for address in addresses if address]


def _plain(address: str) -> str:
    """As browsers read it: no blanks around, no line breaks in it, slashes for backslashes."""
    address = re.sub("[\t\n\r]", "", address.strip(_SPACE))
    return address if address.startswith("data:") else address.replace("\\", "/")
