"""The full-text index: what is found and in which order, any text as a query, and files that are not its own."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.caption.index import CaptionIndex
from striate.errors import ArgumentError, DataError

CAPTIONS = (
    "a small red circle above a blue square",
    "a red circle",
    "two dogs run on the beach",
    "a dog with a red ball",
    "a man in a T-shirt is riding a horse",
    "a circle of red stones in a café",
    "ein Hund läuft über die Wiese",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "captions.sqlite"
    with CaptionIndex(path) as index:
        for number, caption in enumerate(CAPTIONS):
            index.add(f"{number}.jpg", caption, number / 10, "run")
    return path


@pytest.fixture(scope="module")
def index(path):
    with CaptionIndex(path) as index:
        yield index


def numbers(hits):
    return [int(os.path.basename(hit.image).removesuffix(".jpg")) for hit in hits]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dogs", {2, 3}),
        ("DOG", {2, 3}),
        ("running", {2}),
        ("rides horses", {4}),
        ("red dog", {3}),
        ("red dog horse", set()),
        ("red circle", {0, 1, 5}),
        ('"red circle"', {0, 1}),
        ('"circle red"', set()),
        ('a "red circle" square', {0}),
        ('"red circle', {0, 1}),
        ('small"red circle"', {0}),
        ("circle -square", {1, 5}),
        ("circle -square -stone", {1}),
        ('red -"red circle"', {3, 5}),
        ("--square circle", {1, 5}),
        ("t-shirt", {4}),
        ("shirt", {4}),
        ("cafe", {5}),
        ("CAFÉ", {5}),
        ("lauft", {6}),
        ("!!! dog ???", {2, 3}),
        ("dog OR horse", set()),
        ("dog AND ball", set()),
        ("NEAR(dog ball)", set()),
        ("caption:dog", set()),
        ("do*", set()),
        ("^a dog", {3}),
        ("dog\0ball", {3}),
        ("\ud800 dog", {2, 3}),
    ],
)
def test_what_a_query_finds(index, query, expected):
    assert set(numbers(index.search(query))) == expected


def test_the_best_comes_first(index):
    hits = index.search("red circle")
    assert numbers(hits) == [1, 5, 0]  # the shorter a caption, the more its words weigh
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert numbers(index.search("red circle", limit=2)) == [1, 5]


def test_rare_words_count_more(tmp_path):
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        index.add("1.jpg", "zebra and dog and cat and cat", 0.5)
        for number in range(2, 6):
            index.add(f"{number}.jpg", "a cat and a dog", 0.5)
        rare, common = (index.search(word)[0].score for word in ("zebra", "cat"))
        assert rare > common


def test_equal_captions_are_ordered_by_confidence_and_then_by_name(tmp_path):
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        for number, confidence in ((3, 0.5), (1, 0.5), (2, 0.9)):
            index.add(f"{number}.jpg", "a dog", confidence)
        assert numbers(index.search("dog")) == [2, 1, 3]


def test_a_hit_says_everything(index):
    (hit,) = index.search("small circles")
    assert hit.image == os.path.abspath("0.jpg")
    assert (hit.caption, hit.confidence, hit.run) == (CAPTIONS[0], 0.0, "run")
    assert [hit.caption[start:end] for start, end in hit.found] == ["small", "circle"]
    (hit,) = index.search('"red ball"')
    assert [hit.caption[start:end] for start, end in hit.found] == ["red ball"]


def test_an_image_has_one_caption_the_last(tmp_path):
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        index.add("a.jpg", "a dog", 0.5, "first")
        index.add("b.jpg", "a bird", 0.5, "first")
        index.add(tmp_path / ".." / tmp_path.name / "c.jpg", "a fish", 0.5)
        index.add("./x/../a.jpg", "a cat", 0.7, "second")
        index.add(tmp_path / "c.jpg", "a whale", 0.6)
        assert len(index) == 3
        assert index.search("dog") == index.search("fish") == []
        (hit,) = index.search("cat")
        assert (hit.image, hit.confidence, hit.run) == (os.path.abspath("a.jpg"), 0.7, "second")


def test_any_caption_and_any_path_come_back(tmp_path):
    odd = os.fsdecode(b"/photos/\xff caf\xc3\xa9 'a'.jpg")
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        index.add(odd, 'a "dog"\0\2 in <b>Zürich</b>; DROP TABLE images\n', 1)
        (hit,) = index.search("zurich")
    assert hit.image == odd
    assert hit.caption == 'a "dog"  in <b>Zürich</b>; DROP TABLE images '
    assert [hit.caption[start:end] for start, end in hit.found] == ["Zürich"]


@settings(deadline=None, max_examples=300)
@given(st.text() | st.text("\"-*^:(){}+ aANDORTEdog,'\0").map(str))
def test_no_query_is_an_error_of_syntax(index, query):
    try:
        hits = index.search(query)
    except ArgumentError:
        assert not any(c.isalnum() for c in query) or "-" in query
    else:
        assert all(hit.caption in CAPTIONS for hit in hits)


def test_long_queries(index):
    many = " ".join(f"w{number}" for number in range(3000))
    assert index.search(f"dog {many}") == []
    assert set(numbers(index.search("dog -" + " -".join(many.split())))) == {2, 3}


@pytest.mark.parametrize("query", ["", "  ", '""', "*", "-dog", '-"red circle"', "\0", "\ud800"])
def test_a_query_without_a_word_to_look_for(index, query):
    with pytest.raises(ArgumentError, match="holds no word to look for"):
        index.search(query)


def test_the_limit_is_at_least_1(index):
    with pytest.raises(ArgumentError, match="limit=0"):
        index.search("dog", limit=0)


def test_it_is_an_ordinary_file_of_sqlite(path):
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT image, caption, run FROM images JOIN captions ON images.id = captions.rowid")
    assert set(rows) == {(os.path.abspath(f"{number}.jpg"), text, "run") for number, text in enumerate(CAPTIONS)}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("INSERT INTO captions (captions) VALUES ('integrity-check')")
    connection.close()


def test_an_index_is_opened_again(path, tmp_path):
    (tmp_path / "i.sqlite").write_bytes(path.read_bytes())
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert len(index) == len(CAPTIONS)
        index.add("9.jpg", "a ninth dog", 0.5)
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert set(numbers(index.search("dog"))) == {2, 3, 9}


@pytest.mark.skipif(sys.platform == "win32" or (hasattr(os, "geteuid") and not os.geteuid()), reason="root writes all")
def test_a_file_that_cannot_be_written_is_searched_and_refuses_captions(path, tmp_path):
    (tmp_path / "i.sqlite").write_bytes(path.read_bytes())
    (tmp_path / "i.sqlite").chmod(0o400)
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert set(numbers(index.search("dog"))) == {2, 3}
        with pytest.raises(DataError, match=r"i\.sqlite cannot be used: .*readonly"):
            index.add("9.jpg", "a dog", 0.5)


def test_what_was_added_before_an_error_is_kept(tmp_path):
    def stopped(index):
        with index:
            index.add("1.jpg", "a dog", 0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped(CaptionIndex(tmp_path / "i.sqlite"))
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert len(index) == 1


def test_a_killed_process_leaves_a_whole_file(tmp_path):
    code = f"""
from striate.caption.index import CaptionIndex
with CaptionIndex({str(tmp_path / "i.sqlite")!r}) as index:
    for number in range(20_000):
        index.add(f"{{number}}.jpg", "a dog " * 20, 0.5)
        if number == 99:
            index.commit()
    print("added", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "added\n"
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate()
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert len(index) == 100
        assert len(index.search("dogs", limit=1000)) == 100
        index.add("new.jpg", "a cat", 0.5)
        assert len(index) == 101


FOREIGN = {
    "words": b"image,caption\n",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(2000),
    "a torn index": b"SQLite format 3\0" + bytes(50),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_no_other_file_is_overwritten(tmp_path, name):
    place = tmp_path / "file"
    place.write_bytes(FOREIGN[name])
    with pytest.raises(DataError, match="file is no index of captions; name another file"):
        CaptionIndex(place)
    assert place.read_bytes() == FOREIGN[name]


@pytest.mark.parametrize("change", ["CREATE TABLE songs (name)", "PRAGMA application_id = 7"])
def test_no_file_of_another_program_is_overwritten(tmp_path, change):
    place = tmp_path / "songs.db"
    connection = sqlite3.connect(place)
    connection.execute(change)
    connection.close()
    before = place.read_bytes()
    with pytest.raises(DataError, match=r"songs\.db is an SQLite file of another program"):
        CaptionIndex(place)
    assert place.read_bytes() == before


def test_an_index_of_a_later_format(path, tmp_path):
    (tmp_path / "i.sqlite").write_bytes(path.read_bytes())
    connection = sqlite3.connect(tmp_path / "i.sqlite")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(DataError, match="an index of format 2, and format 1 is read here"):
        CaptionIndex(tmp_path / "i.sqlite")


def test_an_empty_file_becomes_an_index(tmp_path):
    (tmp_path / "i.sqlite").touch()
    with CaptionIndex(tmp_path / "i.sqlite") as index:
        assert len(index) == 0


def test_a_broken_index(path, tmp_path):
    content = path.read_bytes()
    (tmp_path / "i.sqlite").write_bytes(content[:4096] + bytes(len(content) - 4096))
    with pytest.raises(DataError, match=r"The index .*i\.sqlite cannot be used: "):
        CaptionIndex(tmp_path / "i.sqlite").search("dog")


def test_places_where_no_index_can_be(tmp_path):
    with pytest.raises(DataError, match="is a folder; give a file for the index"):
        CaptionIndex(tmp_path)
    with pytest.raises(DataError, match=r"i\.sqlite cannot be used: unable to open database file"):
        CaptionIndex(tmp_path / "nowhere" / "i.sqlite")


def test_another_process_is_writing(path, tmp_path, monkeypatch):
    (tmp_path / "i.sqlite").write_bytes(path.read_bytes())
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0))
    with CaptionIndex(tmp_path / "i.sqlite") as first, CaptionIndex(tmp_path / "i.sqlite") as second:
        first.add("8.jpg", "a dog", 0.5)
        assert set(numbers(second.search("dog"))) == {2, 3}
        with pytest.raises(DataError, match="another process is writing it"):
            second.add("9.jpg", "a dog", 0.5)
        first.commit()
        second.add("9.jpg", "a dog", 0.5)
        second.commit()
        assert set(numbers(first.search("dog"))) == {2, 3, 8, 9}


def test_a_python_without_full_text_search_is_told(tmp_path, monkeypatch):
    class Without(sqlite3.Connection):
        def execute(self, statement, *arguments):
            if "fts5" in statement:
                raise sqlite3.OperationalError("no such module: fts5")
            return super().execute(statement, *arguments)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, factory=Without))
    with pytest.raises(DataError, match=r"built without full-text search \(FTS5\)"):
        CaptionIndex(tmp_path / "i.sqlite")
