"""Captions in JPEG and PNG files: re-read by exiftool and Pillow, the pixels' bytes compared, other metadata kept."""

import io
import json
import os
import shutil
import subprocess
import zlib
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from striate.caption import image_metadata
from striate.caption.image_metadata import ImageCaption, read_caption, write_caption
from striate.errors import ArgumentError, DataError

CAPTION = 'A dog & a "cat" <behind> a bush —犬 🐕'
NAMES = ("dc:description", "Iptc4xmpCore:AltTextAccessibility")
XMP = b"http://ns.adobe.com/xap/1.0/\0"
PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b'  <rdf:Description rdf:about="uuid:7" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"\n'
    b'    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:own="http://example.org/own/">\n'
    b"   <!-- by hand --><dc:subject><rdf:Bag><rdf:li>dogs</rdf:li></rdf:Bag></dc:subject>"
    b"<own:note><![CDATA[1 < 2]]></own:note>%s\n"
    b'  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
)
HUMAN = (
    b'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Rex at home</rdf:li>'
    b'<rdf:li xml:lang="en">Rex at home</rdf:li><rdf:li xml:lang="de">Rex daheim</rdf:li></rdf:Alt></dc:description>'
)


def picture(mode="RGB"):
    """A smooth picture with every mode's channels in use."""
    return Image.linear_gradient("L").resize((48, 32)).convert(mode)


def jpeg(mode="RGB", **options):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture(mode).save(file, "JPEG", exif=exif, icc_profile=profile, comment=b"a comment", **options)
    return file.getvalue()


def png(packet=None, compressed=False, mode="RGBA"):
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Title", "Rex")
    info.add_itxt("Author", "Zoë", "en", "Autor")
    if packet is not None:
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=compressed)
    picture(mode).save(file, "PNG", pnginfo=info, dpi=(72, 72))
    return file.getvalue()


def segment(payload, marker=0xE1):
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def with_segments(content, *segments):
    """The JPEG file with these segments before its quantisation tables."""
    at = content.index(b"\xff\xdb")
    return content[:at] + b"".join(segments) + content[at:]


def chunks(content):
    position, found = 8, []
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        found.append(content[position:end])
        position = end
    return found


def image_bytes(content):
    """What makes the pixels: the tables and scans of a JPEG file, the image's chunks of a PNG file."""
    if content.startswith(b"\xff\xd8"):
        return content[content.index(b"\xff\xdb") :]
    return [chunk for chunk in chunks(content) if chunk[4:8] != b"iTXt" or b"XML:com.adobe.xmp" not in chunk]


def exiftool(path):
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    done = subprocess.run(["exiftool", "-json", "-G1", "-struct", str(path)], capture_output=True, text=True)
    return json.loads(done.stdout)[0]


FILES = {
    "jpeg": lambda: jpeg(),
    "progressive": lambda: jpeg(progressive=True),
    "cmyk": lambda: jpeg("CMYK"),
    "grey": lambda: jpeg("L"),
    "jpeg with XMP": lambda: with_segments(jpeg(), segment(XMP + PACKET % b"")),
    "jpeg with fill bytes": lambda: with_segments(jpeg(), b"\xff\xff" + segment(b"other")),
    "png": lambda: png(),
    "png of a palette": lambda: png(mode="P"),
    "png with XMP": lambda: png(PACKET % b""),
    "png with compressed XMP": lambda: png(PACKET % b"", compressed=True),
}


@pytest.mark.parametrize("name", FILES)
def test_a_caption_is_written_and_nothing_else_changes(name, tmp_path):
    content = FILES[name]()
    path = tmp_path / "image"
    path.write_bytes(content)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_000_000_000_000_000_007, 1_100_000_000_000_000_009))
    before = Image.open(io.BytesIO(content))
    assert write_caption(path, CAPTION) == NAMES
    assert read_caption(path) == ImageCaption(CAPTION, CAPTION)
    assert path.stat().st_mtime_ns == 1_100_000_000_000_000_009
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["image"]
    assert image_bytes(path.read_bytes()) == image_bytes(content)
    after = Image.open(path)
    assert after.tobytes() == before.tobytes() and after.mode == before.mode
    same = {"icc_profile", "exif", "comment", "dpi", "Title", "Author", "jfif"}
    assert {k: v for k, v in after.info.items() if k in same} == {k: v for k, v in before.info.items() if k in same}


@pytest.mark.parametrize("name", FILES)
def test_exiftool_reads_the_caption_and_everything_that_was_there(name, tmp_path):
    content = FILES[name]()
    path = tmp_path / "image"
    path.write_bytes(content)
    before = exiftool(path)
    write_caption(path, CAPTION)
    after = exiftool(path)
    assert after["XMP-dc:Description"] == CAPTION
    assert after["XMP-iptcCore:AltTextAccessibility"] == CAPTION
    own = {"System:FileSize", "System:FileInodeChangeDate", "System:FileAccessDate", "XMP-x:XMPToolkit"}
    assert {key: after.get(key) for key in before if key not in own} == {
        k: v for k, v in before.items() if k not in own
    }
    assert not [key for key in after if ("Warning" in key or "Error" in key) and key not in before]


def test_pillow_finds_the_packet_and_an_xml_parser_the_caption(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(FILES["jpeg with XMP"]())
    write_caption(path, CAPTION)
    root = ElementTree.fromstring(Image.open(path).info["xmp"])
    rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    texts = [
        root.find(f"{rdf}RDF/{rdf}Description/{name}/{rdf}Alt/{rdf}li")
        for name in (
            "{http://purl.org/dc/elements/1.1/}description",
            "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility",
        )
    ]
    assert [text.text for text in texts] == [CAPTION, CAPTION]
    assert {text.get("{http://www.w3.org/XML/1998/namespace}lang") for text in texts} == {"x-default"}


def test_the_packet_is_edited_not_replaced(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(FILES["jpeg with XMP"]())
    write_caption(path, CAPTION)
    content = path.read_bytes()
    before, after = (PACKET % b"").split(b"</rdf:RDF>")
    assert before in content and after in content
    assert content.count(b'rdf:about="uuid:7"') == 3  # all of a packet's descriptions are about the same image


def test_a_text_that_is_there_stays_unless_asked(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(PACKET % HUMAN))
    assert write_caption(path, "a dog") == NAMES[1:]
    assert read_caption(path) == ImageCaption("Rex at home", "a dog")
    content = path.read_bytes()
    assert write_caption(path, "another") == () and path.read_bytes() == content
    assert write_caption(path, "a dog at home", overwrite=True) == NAMES
    assert read_caption(path) == ImageCaption("a dog at home", "a dog at home")
    content = path.read_bytes()
    assert b"Rex at home" not in content  # in English it was the default text once more
    assert content.count(b'<rdf:li xml:lang="de">Rex daheim</rdf:li>') == 1
    assert content.count(b"AltTextAccessibility>") == 2


@pytest.mark.parametrize(
    "text",
    [
        b"<dc:description/>",
        b"<dc:description></dc:description>",
        b"<dc:description> </dc:description>",
        b'<dc:description><rdf:Alt><rdf:li xml:lang="x-default"/></rdf:Alt></dc:description>',
    ],
)
def test_an_empty_text_is_none(text, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(PACKET % text))
    assert read_caption(path) == ImageCaption(None, None)
    assert write_caption(path, "a dog") == NAMES
    assert read_caption(path) == ImageCaption("a dog", "a dog")
    assert path.read_bytes().count(b"<dc:description>") == 1


def test_texts_as_others_write_them(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png(PACKET % b"<dc:description>a/></dc:description>"))
    assert read_caption(path).description == "a/>"
    write_caption(path, "b", overwrite=True)
    assert read_caption(path).description == "b"
    empty = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" />'
    path.write_bytes(png(empty))
    write_caption(path, "b")
    assert read_caption(path).description == "b"
    path.write_bytes(png((PACKET % b"").replace(b'xmp:Rating="4"', b'dc:description="c"')))
    assert read_caption(path).description == "c"
    assert write_caption(path, "d") == NAMES[1:]
    content = path.read_bytes()
    with pytest.raises(DataError, match="as an attribute"):
        write_caption(path, "d", overwrite=True)
    assert path.read_bytes() == content


def extended(text, whole=None):
    """Two segments of extended XMP, the second first."""
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + (whole or len(text)).to_bytes(4, "big")
    return [segment(head + at.to_bytes(4, "big") + text[at : at + size]) for at, size in ((100, len(text)), (0, 100))]


def test_extended_xmp_is_kept_and_looked_into(tmp_path):
    path = tmp_path / "image.jpg"
    parts = extended(PACKET % HUMAN)
    path.write_bytes(with_segments(jpeg(), segment(XMP + PACKET % b""), *parts))
    assert read_caption(path).description == "Rex at home"
    assert write_caption(path, "a dog") == NAMES[1:]
    assert all(part in path.read_bytes() for part in parts)
    with pytest.raises(DataError, match="extended XMP, which is not edited"):
        write_caption(path, "a dog", overwrite=True)


def test_a_long_packet_gives_up_its_padding(tmp_path):
    path = tmp_path / "image.jpg"
    packet = PACKET % b""
    room = 65_533 - len(XMP) - len(packet)
    path.write_bytes(
        with_segments(jpeg(), segment(XMP + packet.replace(b"<?xpacket end", b" " * room + b"<?xpacket end")))
    )
    assert write_caption(path, CAPTION) == NAMES
    full = packet.replace(b"1 < 2", b"1" * (room - 100))
    path.write_bytes(with_segments(jpeg(), segment(XMP + full)))
    with pytest.raises(DataError, match=r"bytes; a JPEG file holds about 65,500"):
        write_caption(path, CAPTION)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "image.png").write_bytes(png())
    (tmp_path / "link.png").symlink_to(tmp_path / "image.png")
    write_caption(tmp_path / "link.png", "a dog")
    assert (tmp_path / "link.png").is_symlink()
    assert read_caption(tmp_path / "image.png").description == "a dog"


DTD = b'<!DOCTYPE a [<!ENTITY b "c">]>'
BROKEN = {
    "neither": (b"GIF89a", "this is neither"),
    "empty": (b"", "this is neither"),
    "jpeg without an end": (jpeg()[:-2], "its image has no end"),
    "jpeg cut in its header": (jpeg()[:60], "broken or truncated"),
    "jpeg of its signature": (b"\xff\xd8\xff", "broken or truncated"),
    "a length that lies": (b"\xff\xd8\xff\xe0\xff\xff" + jpeg()[6:200], "in the segment at byte 2"),
    "a length of one": (b"\xff\xd8\xff\xe0\x00\x01" + jpeg()[6:], "in the segment at byte 2"),
    "no marker": (jpeg()[:2] + b"\xff\xe0\x00\x02abc" + jpeg()[2:], "no segment at byte 6"),
    "two packets": (with_segments(jpeg(), *[segment(XMP + PACKET % b"")] * 2), "2 XMP packets"),
    "part of extended XMP": (with_segments(jpeg(), *extended(PACKET % b"", 9999)), "extended XMP is not complete"),
    "pictures behind": (
        with_segments(jpeg(), segment(b"MPF\0II*\0", 0xE2), segment(XMP + PACKET % b"")),
        "index of further pictures",
    ),
    "png cut": (png()[:-20], "truncated in the chunk"),
    "png without an end": (png()[:-12], "truncated in the chunk"),
    "png with a flipped bit": (png()[:60] + bytes([png()[60] ^ 1]) + png()[61:], "does not fit its checksum"),
    "png without its header": (png()[:8] + b"".join(chunks(png())[1:]), "begins with a chunk"),
    "no XML": (png(b"<a><b></a>"), "no well-formed XML"),
    "no UTF-8": (with_segments(jpeg(), segment(XMP + b"<a>\xff</a>")), "no well-formed XML in UTF-8"),
    "no RDF": (png(b"<a/>"), "no rdf:RDF"),
    "a DTD": (png(DTD + b"<a>&b;</a>"), "document type declaration"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_edited_is_left_as_it_was(name, tmp_path):
    content, message = BROKEN[name]
    path = tmp_path / "image"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        write_caption(path, "a dog")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("length", range(0, 700, 7))
def test_a_file_cut_anywhere_is_an_error_of_the_data(length, tmp_path):
    path = tmp_path / "image"
    for content in (FILES["jpeg with XMP"](), png(PACKET % b"")):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            write_caption(path, "a dog")


def test_a_compressed_packet_is_unpacked_within_limits(tmp_path):
    path, (header, *rest) = tmp_path / "image.png", chunks(png())
    for data, message in [(zlib.compress(bytes(2**25)), "more than 16,777,216"), (b"no", "is broken")]:
        body = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + data
        bomb = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
        path.write_bytes(png()[:8] + header + bomb + b"".join(rest))
        with pytest.raises(DataError, match=message):
            read_caption(path)


@pytest.mark.parametrize("caption", ["", " \n", "a\0b", "a\x0cb", "\ud800"])
def test_captions_that_no_file_can_hold(caption, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png())
    with pytest.raises(ArgumentError):
        write_caption(path, caption)
    assert path.read_bytes() == png()


def test_a_file_that_may_not_be_written_is_left(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(png())
    monkeypatch.setattr(image_metadata.os, "access", lambda *_: False)
    with pytest.raises(DataError, match="read-only"):
        write_caption(path, "a dog")


def test_a_caption_of_several_lines_comes_back(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png())
    write_caption(path, " a\r\nb\tc ]]> ")
    assert read_caption(path).description == " a\r\nb\tc ]]> "
