"""Downloads from a server on this machine: asked for, verified, kept; and each way in which they go wrong."""

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from striate.errors import DownloadError, WeightsFileError
from striate.zoo.weights import fetch, record, weights_folder

CONTENT = bytes(range(256)) * 9000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if kind != "unannounced":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write({"interrupted": CONTENT[:100_000], "changed": CONTENT[::-1]}.get(kind, CONTENT))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    server.asked.clear()

    def make(kind):
        url = f"http://127.0.0.1:{server.server_port}/{kind}/net-12345678.pth"
        return replace(record("resnet18"), source=url, sha256=hashlib.sha256(CONTENT).hexdigest()[:8])

    return make


def yes(_):
    return True


@pytest.mark.parametrize("kind", ["whole", "unannounced"])
def test_downloaded_once_and_kept(published, server, kind):
    questions = []
    path = fetch(published(kind), lambda question: questions.append(question) or True)
    assert path.read_bytes() == CONTENT and path == weights_folder() / "net-12345678.pth"
    assert [file.name for file in path.parent.iterdir()] == ["net-12345678.pth"]
    assert path.stat().st_mode & 0o044  # others may read it, as any other file
    assert questions[0].startswith(f"Download {published(kind).source} (44.7 MiB, BSD-3-Clause")
    assert str(path) in questions[0]
    assert fetch(published(kind), pytest.fail) == path
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("interrupted", r"the connection ended after 100,000 of 2,304,000 bytes"),
        ("changed", r"another SHA-256 than the [0-9a-f]{8}… expected, and was removed"),
        ("missing", "was not downloaded: Not Found"),
    ],
)
def test_what_does_not_come_whole_and_right_leaves_nothing(published, kind, message):
    with pytest.raises(DownloadError, match=message) as raised:
        fetch(published(kind), yes)
    assert "curl --location --output" in str(raised.value)
    assert list(weights_folder().iterdir()) == []


def test_offline(published):
    nowhere = replace(published("whole"), source="http://127.0.0.1:9/net-12345678.pth")
    with pytest.raises(DownloadError, match="was not downloaded: ") as raised:
        fetch(nowhere, yes)
    target = weights_folder() / "net-12345678.pth"
    assert f"mkdir -p {target.parent} && curl --location --output {target} {nowhere.source}" in str(raised.value)
    target.write_bytes(CONTENT)  # as the message says
    assert fetch(nowhere) == target


def test_stopped_by_the_user(published, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("striate.zoo.weights.download.os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(published("whole"), yes)
    assert list(weights_folder().iterdir()) == []


def test_nothing_is_downloaded_unasked(published, server, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(DownloadError, match="nobody can be asked whether to download http://127"):
        fetch(published("whole"))
    with pytest.raises(DownloadError, match="were not downloaded"):
        fetch(published("whole"), lambda _: False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("striate.zoo.weights.download.Confirm.ask", lambda _: False)
    with pytest.raises(DownloadError, match="were not downloaded"):
        fetch(published("whole"))
    assert server.asked == [] and not weights_folder().exists()


def test_another_file_in_its_place_is_not_taken(published, server):
    weights_folder().mkdir(parents=True)
    (weights_folder() / "net-12345678.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsFileError, match=r"is not the published file.*Remove it"):
        fetch(published("whole"), yes)
    assert server.asked == []


def test_what_torchvision_downloaded_is_used(published, server, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "net-12345678.pth").write_bytes(CONTENT)
    assert fetch(published("whole")) == folder / "net-12345678.pth"
    (folder / "net-12345678.pth").write_bytes(CONTENT[:-1])
    assert fetch(published("whole"), yes).parent == weights_folder()
    assert len(server.asked) == 1


def test_where_weights_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("STRIATE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "striate" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home" / ".cache" / "striate" / "weights"
