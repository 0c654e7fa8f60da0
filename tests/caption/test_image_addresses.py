"""Which file an address means: as a browser would ask for it, and never one outside the site's folder."""

import pytest

from striate.caption.image_addresses import kind, resolve, srcset_addresses, with_base


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    for name in [
        "a.png",
        "blog/b c.png",
        "blog/ü.png",
        "blog/100%.png",
        "blog/x?y#z.png",
        "blog/page.html",
        "odd #?%/p.html",
    ]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "odd #?%" / "a.png").touch()
    (tmp_path / "secret.png").touch()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "circle.png").symlink_to(root / "circle.png")
    return root


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("../a.png", "a.png"),
        ("/a.png", "a.png"),
        (" /a.png\n", "a.png"),
        ("\\a.png", "a.png"),
        ("/a.png?v=1#top", "a.png"),
        ("/blog/./../a.png", "a.png"),
        ("../../../a.png", "a.png"),  # a browser does not leave the site either
        ("%2e%2e/a.png", "a.png"),
        ("b c.png", "blog/b c.png"),
        ("b%20c.png", "blog/b c.png"),
        ("./b%20c.png", "blog/b c.png"),
        ("%C3%BC.png", "blog/ü.png"),
        ("ü.png", "blog/ü.png"),
        ("100%25.png", "blog/100%.png"),
        ("100%.png", "blog/100%.png"),
        ("x%3Fy%23z.png", "blog/x?y#z.png"),
    ],
)
def test_files_of_the_site(address, file, site):
    assert resolve(address, site / "blog" / "page.html", site) == site / file


@pytest.mark.parametrize(
    "address",
    [
        "none.png",
        "",
        "?",
        "/",
        "/blog",
        "../../secret.png",
        "%2e%2e/%2e%2e/secret.png",
        "..%2f..%2fsecret.png",
        "/link.png",
    ]
    + [
        "/circle.png",
        "https://example.org/a.png",
        "//example.org/a.png",
        "data:image/png;base64,aaaa",
        "a.png%00",
        "\0",
    ]
    + ["http://[a.png", "file:///a.png", "javascript:a", "a" * 5000, "..\\..\\..\\secret.png"],
)
def test_no_file_of_the_site(address, site):
    found = resolve(address, site / "blog" / "page.html", site)
    assert found is None or found == site / "blog" / "page.html"  # an empty address is the page itself


def test_pages_in_folders_with_odd_names(site):
    assert resolve("a.png", site / "odd #?%" / "p.html", site) == site / "odd #?%" / "a.png"
    assert resolve("a.png", site.parent / "page.html", site) is None


@pytest.mark.parametrize(
    ("srcset", "addresses"),
    [
        ("", []),
        (" , ,", []),
        ("a.png", ["a.png"]),
        ("a.png 1x,b.png 2x", ["a.png", "b.png"]),
        ("a.png,b.png", ["a.png,b.png"]),
        ("a.png, b.png,", ["a.png", "b.png"]),
        ("data:,x 1x, b.png", ["data:,x", "b.png"]),
        ("a.png calc(1, 2) 3x, b.png", ["a.png", "b.png"]),
        ("a.png (, b.png", ["a.png"]),
        ("\n a.png\t640w\n,\n b.png 1280w\n", ["a.png", "b.png"]),
    ],
)
def test_srcset(srcset, addresses):
    assert srcset_addresses(srcset) == addresses


def test_kinds():
    assert [kind(each) for each in ["a", "/a", "?a", "a/b:c"]] == ["local"] * 4
    assert [kind(each) for each in ["//a", "HTTP://a", "blob:x", "http://["]] == ["remote"] * 4
    assert kind(" DATA:,x") == "inline"


@pytest.mark.parametrize(
    ("base", "address", "result"),
    [
        ("", "a", "a"),
        ("b", "a", "a"),
        ("b/", "a", "b/a"),
        ("../b/c", "../a", "../b/../a"),
        ("/b/", "a", "/b/a"),
        ("b/", "/a", "/a"),
        ("b/", "//x/a", "//x/a"),
        ("b/", "data:,x", "data:,x"),
        ("data:,x/", "a", "a"),
        ("https://x/b/", "../a", "https://x/a"),
    ],
)
def test_bases(base, address, result):
    assert with_base(base, address) == result
