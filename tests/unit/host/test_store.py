"""Models that are fetched: whole, the right ones, and nowhere else."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jalhost.errors import JalError, ModelError, UsageError
from jalhost.models.llama2c import read_checkpoint
from jalhost.models.store import (
    FOLDER_VARIABLE,
    KNOWN,
    Download,
    checked_name,
    find,
    find_tokenizer,
    pull,
    remove,
    store_folder,
    stored,
)

CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; breaks off behind ``cut`` bytes; keeps the ranges that were asked for."""

    cut: int | None = None
    resumes = True
    ranges: list[str | None] = []  # noqa: RUF012 - one server at a time, and tests empty it

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.resumes else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.cut])
        self.close_connection = True

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "store"))
    monkeypatch.setattr(Server, "cut", None)
    monkeypatch.setattr(Server, "resumes", True)
    Server.ranges.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/some/where/x.gguf"
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(str(item.relative_to(folder)) for item in folder.rglob("*") if item.is_file())


def test_files_come_whole(url: str) -> None:
    lines: list[str] = []
    assert pull("x", (Download(url, SHA),), lines.append) == [store_folder() / "x" / "x.gguf"]
    assert (store_folder() / "x" / "x.gguf").read_bytes() == CONTENT
    assert lines[-1].startswith("100% received")
    assert find(Path("x")) == store_folder() / "x" / "x.gguf"
    pull("x", (Download(url, SHA),), lines.append)
    assert lines[-1].endswith("x.gguf is there already")
    assert Server.ranges == [None]


@pytest.mark.parametrize("resumes", [True, False])
def test_what_broke_off_is_gone_on_with(
    url: str, resumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "cut", 700_000)
    monkeypatch.setattr(Server, "resumes", resumes)
    with pytest.raises(ModelError, match="broke off at 700,000 of 1,280,000 bytes; pull again"):
        pull("x", (Download(url, SHA),), print)
    assert stored() == {"x": []}
    with pytest.raises(ModelError, match="the stored model x is not complete"):
        find(Path("x"))
    part = store_folder() / "x" / "x.gguf.part"
    assert part.stat().st_size == 700_000
    monkeypatch.setattr(Server, "cut", None)
    pull("x", (Download(url, SHA),), print)
    assert Server.ranges == [None, "bytes=700000-"]
    assert (store_folder() / "x" / "x.gguf").read_bytes() == CONTENT
    assert names(store_folder()) == ["x/x.gguf"]


def test_other_files_are_not_kept(url: str) -> None:
    with pytest.raises(ModelError, match=f"has the SHA-256 {SHA}, not 0000"):
        pull("x", (Download(url, "0" * 64),), print)
    assert names(store_folder()) == []


def test_without_a_network_the_place_is_named(url: str) -> None:
    gone = "http://127.0.0.1:1/x.gguf"
    with pytest.raises(ModelError, match=r"cannot fetch http.*put the file by hand at .*x/x\.gguf"):
        pull("x", (Download(gone, SHA),), print)
    # By hand:
    (store_folder() / "x" / "x.gguf").write_bytes(CONTENT)
    pull("x", (Download(gone, SHA),), print)


@pytest.mark.parametrize(
    ("name", "address", "sha256", "message"),
    [
        ("../x", "https://h/x.bin", SHA, "no name of a model"),
        ("/etc/x", "https://h/x.bin", SHA, "no name of a model"),
        ("..", "https://h/x.bin", SHA, "no name of a model"),
        ("x", "https://h/..", SHA, "does not end with a file's name"),
        ("x", "https://h/a%2F..%2Fb", SHA, "does not end with a file's name"),
        ("x", "https://h/", SHA, "does not end with a file's name"),
        ("x", "http://example.org/x.bin", SHA, "no https address"),
        ("x", "file:///etc/passwd", SHA, "no https address"),
        ("x", "https://h/x.bin", "12", "64 hexadecimal digits"),
    ],
)
def test_nothing_leads_out_of_the_folder(
    url: str, tmp_path: Path, name: str, address: str, sha256: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pull(name, (Download(address, sha256),), print)
    assert names(tmp_path) == []


def test_models_are_removed(url: str) -> None:
    pull("x", (Download(url, SHA),), print)
    assert remove("x") == len(CONTENT)
    assert stored() == {}
    for name, message in (("x", "no stored model x"), ("..", "no name")):
        with pytest.raises(JalError, match=message):
            remove(name)


def test_known_models_are_those_of_the_tests(
    stories260k: Path, tok512: Path, url: str, tmp_path: Path
) -> None:
    checkpoint, tokenizer = KNOWN["stories260K"]
    for item, path in ((checkpoint, stories260k), (tokenizer, tok512)):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == item.sha256
        target = store_folder() / "stories260K" / item.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    pull("stories260K", KNOWN["stories260K"], print)
    path = find(Path("stories260K"))
    assert read_checkpoint(path).architecture.vocabulary == 512
    assert find_tokenizer(path) == store_folder() / "stories260K" / "tok512.bin"


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_can_be_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, addresses and hashes are such; without the network that is as far as it goes."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert checked_name(name) == name
    for item in KNOWN[name]:
        assert item.url.startswith("https://")
        with pytest.raises(ModelError, match="put the file by hand at"):
            pull(name, (replace(item, url=f"https://127.0.0.1:1/{item.name}"),), print)
