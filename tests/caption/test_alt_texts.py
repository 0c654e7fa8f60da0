"""Texts for a page's images: every other byte of awkward pages stays, and a tag is what the HTML standard says."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.caption.alt_texts import diff, fill_alt_texts
from striate.caption.html_encoding import page_encoding
from striate.caption.html_scanner import tags
from striate.errors import DataError

ALT = b' alt="T"'


def fill(page, text="T", **options):
    return fill_alt_texts(page, lambda address: text, **options)


# A page, where "@" marks the places at which a text belongs.
PAGES = {
    "plain": b"<p><img@ src='a.png'></p>",
    "no quotes": b"<img@ src=a.png>",
    "no quotes, a slash at the end": b"<img@ src=a/>",
    "upper case": b'<IMG@ SRC="A.PNG">',
    "slashes": b"<img@/src=a.png/ ><img@/src=a />",
    "line breaks": b'<img@\r\n\tsrc\r\n=\r\n"a.png"\r\n/>\r\n',
    "a sign in a value": b"<img@ title='a > b' src=a.png data-x=\"alt='x'\">",
    "attributes without blanks": b"<img@ src='a.png'title=b>",
    "an odd attribute": b'<img@ =alt="x" "alt src=a.png>',
    "alt is part of a name": b"<img@ data-alt=x alt-text=y src=a.png>",
    "duplicates": b'<img src=a alt="" alt="x"><img src=a ALT=x alt>',
    "decoration": b"<img alt src=a><img src=a alt><img src=a alt=\"\"><img src=a alt=''><img src=a alt=><img alt= >",
    "decoration in other words": b'<img role=presentation src=a><img role="none" src=a><img aria-hidden="TRUE" src=a>',
    "comments": b"<!-- <img src=a> --><!--><img@ src=a><!---><img@ src=a><!----><img@ src=a><!-- --!><img@ src=a>",
    "a comment in a comment": b"<!-- <!-- --> <img@ src=a> --> <!-- <!--> <img@ src=a>",
    "a comment without an end": b"<img@ src=a><!-- <img src=a> ->",
    "bogus comments": b"<! <img src=a><img@ src=a><? <img src=a><img@ src=a></ <img src=a></><img@ src=a>",
    "a document type": b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN"><img@ src=a />',
    "text that is no tag": b"a < b <3 <<img@ src=a> </img src=a>",
    "script": b"<script>'<img src=a>'</scripty></SCRIPT ><img@ src=a>",
    "script that hides a script": b"<script><!-- <script> </script> <img src=a> --></script><img@ src=a>",
    "script that hides nothing": b"<script><!-- </script><img@ src=a><script><!--><script></script><img@ src=a>",
    "script whose hidden script ends": b"<script><!--<script></script><img src=a></script><img@ src=a>",
    "style and text": b"<style><img src=a></style><textarea><img src=a></textarea><title><img></title><img@ src=a>",
    "xmp and iframe": b"<xmp><img src=a></xmp><iframe><img src=a></iframe><noembed><img src=a></noembed><img@ src=a>",
    "plaintext": b"<img@ src=a><plaintext><img src=a></plaintext><img src=a>",
    "noscript and template": b"<noscript><img@ src=a></noscript><template><img@ src=a></template>",
    "SVG": b"<svg><title>a</title><style/><script/><image href=a /><![CDATA[<img src=a>]]></svg><img@ src=a>",
    "HTML in SVG": b"<svg><foreignObject><style><img></style><img@ src=a></foreignObject></svg><![CDATA[<img>]]>",
    "SVG without an end": b"<svg><p><style><img src=a></style><svg></p><style><img src=a></style><img@ src=a>",
    "formulas": b"<math><mi><style><img src=a></style><img@ src=a></math><svg><mi><title><img@ src=a></title></svg>",
    "CDATA in HTML is a bogus comment": b"<![CDATA[ <img src=a> ]]><img@ src=a>",
    "nested pictures": b"<picture><source srcset='b.png 2x'><picture><source srcset=c.png><img@></picture></picture>",
    "names that begin alike": b"<image src=a><imgs src=a><img@ src=a><i src=a>",
    "a tag without an end": b"<img@ src=a><img src=a ",
    "a quote without an end": b"<img@ src=a><img src='a> <img src=a>",
    "bytes of no encoding": b"<meta charset=utf-8>\xff\xfe\x80<img@ src=a>\xc3",
    "nothing": b"",
    "NUL": b"\0<img@ src=a\0>",
}


@pytest.mark.parametrize("name", PAGES)
def test_awkward_pages(name):
    page = PAGES[name]
    edited = fill(page.replace(b"@", b""))
    assert edited.html == page.replace(b"@", ALT)
    assert len(edited.changes) == page.count(b"@")
    assert fill(edited.html).changes == ()


PIECES = [
    b"<img src=a>",
    b"<IMG/src='a'/>",
    b"<img src=a alt>",
    b"<img src=a alt='x'>",
    b"<img ",
    b"<!--",
    b"-->",
    b"--!>",
]
PIECES += [
    b"<script>",
    b"</script>",
    b"<style>",
    b"</style>",
    b"<svg>",
    b"</svg>",
    b"<![CDATA[",
    b"]]>",
    b"<title>",
    b"</title>",
]
PIECES += [
    b'"',
    b"'",
    b"=",
    b">",
    b"<",
    b"/",
    b" ",
    b"\r\n",
    b"\xe9",
    b"\0",
    b"alt",
    b"<picture>",
    b"<source srcset=b>",
]
PIECES += [b"<noscript>", b"<plaintext>", b"<p>", b"<foreignObject>", b"<base href='b/'>", b"</", b"&amp;", b"\xc3\xa9"]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))).map(b"".join))
def test_everything_but_the_new_attributes_is_identical(page):
    edited = fill(b"<meta charset=windows-1252>" + page, "Q7")
    assert edited.html.count(b' alt="Q7"') == len(edited.changes)
    assert edited.html.replace(b' alt="Q7"', b"") == b"<meta charset=windows-1252>" + page
    again = fill(edited.html, "Q8")
    assert again.html == edited.html
    assert len(again.kept) == len(edited.kept) + len(edited.changes)


@settings(deadline=None, max_examples=200)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), min_size=1),
    st.sampled_from(["", "'x'", '"x"', "x"]),
)
def test_any_text_comes_back(text, former):
    page = b"<meta charset=big5><img src=a" + (f" alt={former}" if former else "").encode() + b">"
    edited = fill(page, text, overwrite=True)
    if not text.strip():
        assert edited.html == page and edited.problems[0].reason == "no text for it"
        return
    assert alts(edited.html.decode("big5")) == [text.strip()]


def alts(page):
    """The texts of a page's images, after Python's own parser."""
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "img":
                found.append(dict(attributes).get("alt"))

    Parser().feed(page)
    return found


def test_the_scanner_agrees_with_pythons_parser_on_a_page_without_oddities():
    page = (
        '<!DOCTYPE html><html lang=en><head><meta charset="utf-8"><title>a</title><style>p > a {}</style></head>\n'
        '<body class="b c"><!-- d --><p id=e>f<br/><img src="g.png" width=3 hidden></p><script>if (a < b) {}</script>'
    )
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, {name: value or "" for name, value in attributes}))

    Parser().feed(page)
    mine = [(t.name, {n: a.value for n, a in t.attributes.items()}) for t in tags(page) if not t.closing]
    assert mine == found


@pytest.mark.parametrize(
    ("former", "written"),
    [
        (b"", b" alt=\"&lt;a&gt; &amp; &quot;b&quot; 'c'\""),
        (b' alt="x"', b" alt=\"&lt;a&gt; &amp; &quot;b&quot; 'c'\""),
        (b" alt='x'", b" alt='&lt;a&gt; &amp; \"b\" &#39;c&#39;'"),
        (b" alt = x", b" alt = \"&lt;a&gt; &amp; &quot;b&quot; 'c'\""),
    ],
)
def test_escapes_are_those_of_the_quotes(former, written):
    edited = fill(b"<img" + former + b" src=s>", "<a> & \"b\" 'c'", overwrite=True)
    assert edited.html == b"<img" + written + b" src=s>"


@pytest.mark.parametrize(
    ("page", "written"),
    [
        (b"<meta charset=utf-8>", "é—🐕\\¥".encode()),
        (b"\xef\xbb\xbf", "é—🐕\\¥".encode()),
        (b"<meta charset=latin1>", b"\xe9\x97&#128021;\\\xa5"),
        (b'<META content="text/html; CHARSET=windows-1251" http-equiv=Content-Type>', b"&#233;\x97&#128021;\\&#165;"),
        (b"<meta charset=euc-jp>", "é".encode("euc-jp") + b"&#8212;&#128021;\\&#165;"),
        (b"<!-- <meta charset=utf-8> -->", b"&#233;&#8212;&#128021;\\&#165;"),
        (b"<meta charset=utf-16>", "é—🐕\\¥".encode()),
        (b"<meta name=keywords content='charset=utf-8'>", b"&#233;&#8212;&#128021;\\&#165;"),
        (b"<meta charset=none-such>", b"&#233;&#8212;&#128021;\\&#165;"),
        (b"", b"&#233;&#8212;&#128021;\\&#165;"),
    ],
)
def test_the_pages_encoding_is_respected(page, written):
    edited = fill(page + b"<img src=a>", "é—🐕\\¥")
    assert edited.html == page + b'<img alt="' + written + b'" src=a>'


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16(encoding):
    page = "\ufeff<p>犬 🐕\r\n<img{} src='犬.png'>\ud800".encode(encoding, "surrogatepass")
    slot = "{}".encode(encoding)
    asked = []
    edited = fill_alt_texts(page.replace(slot, b""), lambda address: asked.append(address) or "🐕")
    assert edited.html == page.replace(slot, ' alt="🐕"'.encode(encoding)) and asked == ["犬.png"]
    with pytest.raises(DataError, match="begins as UTF-16"):
        fill(page[:-1])


@pytest.mark.parametrize("name", [b"iso-2022-jp", b"utf-7", b"hz-gb-2312", b"cp037", b"unicode_escape", b"hex"])
def test_encodings_in_which_tags_cannot_be_told_from_text(name):
    with pytest.raises(DataError, match="save it as UTF-8"):
        page_encoding(b"<meta charset=" + name + b">")


def asked(page):
    """The addresses that are asked for in a page."""
    found = []
    edited = fill_alt_texts(page, lambda address: found.append(address))
    assert edited.html == page
    return found, [(problem.line, problem.reason) for problem in edited.problems]


def test_what_is_asked_for():
    page = b"""<img src=" a.png ">\r
<img src='a&amp;b&copy=1.png' srcset="c.png 1x, d.png 2x" data-src=e.png>\r
<picture><source srcset="f.webp, a.png 2x"><img src="data:image/gif;base64,R0" srcset=a.png></picture>\r
<img src=https://example.org/g.png><img src=//example.org/g.png>\r
<img><img src=''>"""
    addresses, problems = asked(page)
    assert addresses == ["a.png", "a&b&copy=1.png", "c.png", "d.png", "e.png", "a.png", "f.webp"]
    assert problems == [
        (1, "no text for it"),
        (2, "no text for it"),
        (3, "inline image"),
        (4, "remote image"),
        (4, "remote image"),
        (5, "no address"),
        (5, "no address"),
    ]


def test_the_base_of_a_page_is_applied():
    page = b"<base target=x><base href='img/x?y/z'><base href=no/><img src=../a.png><img src=/b.png>"
    assert asked(page)[0] == ["img/../a.png", "/b.png"]
    assert asked(b"<base href=https://example.org/><img src=a.png>") == ([], [(1, "remote image")])


def test_addresses_in_the_encoding_of_the_page():
    assert asked("<meta charset=gbk><img src=犬.png>".encode("gbk"))[0] == ["犬.png"]
    assert asked("<img src=犬.png>".encode())[0] == ["犬.png"]
    assert asked("<img src=é.png>".encode("cp1252"))[0] == ["é.png"]


def test_a_human_text_is_kept_unless_asked():
    page = b"<img src=a alt='Rex &amp; I'><img src=b alt=''>"
    edited = fill(page)
    assert edited.html == page and [kept.text for kept in edited.kept] == ["Rex & I", ""]
    edited = fill(page, overwrite=True)
    assert edited.html == b"<img src=a alt='T'><img src=b alt=''>"
    edited = fill(page, None, overwrite=True)
    assert edited.html == page and edited.problems[0].text == "Rex & I"


def test_one_bad_image_stops_nothing():
    def describe(address):
        if address == "bad":
            raise DataError("bad is broken")
        return " a\n dog\0 "

    edited = fill_alt_texts(b"<img src=bad><img src=good>", describe)
    assert edited.html == b'<img src=bad><img alt="a  dog" src=good>'
    assert [(each.address, each.reason) for each in edited.problems] == [("bad", "bad is broken")]


def test_the_difference_is_shown():
    page = "<p>犬\r\n<img src=a>\r\n<img src=b alt=''>\r\n".encode()
    assert diff(page, fill(page).html, "x.html").splitlines() == [
        "--- x.html",
        "+++ x.html",
        "@@ -2 +2 @@",
        "-<img src=a>",
        '+<img alt="T" src=a>',
    ]
    assert diff(page, page, "x.html") == ""
