"""Downloads that break, lie, hang and lead elsewhere, from a server on this machine."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from file_server import serving

from cornernet.engine.errors import DownloadError, OutputError
from cornernet.trainer.import_weights import resumed_download
from cornernet.trainer.import_weights.resumed_download import Patience, download

CONTENT = np.random.default_rng(3).bytes(300_000)
HASH = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(seconds=0.3, tries=3, pause=0.01)


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


def fetch(server, folder, url=None, sha256=HASH, **settings):
    return download(url or server.url, folder, sha256=sha256, patience=QUICK, **settings)


def parts(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once_and_then_kept(server, tmp_path):
    steps = []
    path = fetch(server, tmp_path, size=len(CONTENT), progress=lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT and path.name == "weights.pth"
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(server, tmp_path) == path
    assert len(server.asked) == 1
    assert parts(tmp_path) == [path]


def test_a_kept_file_that_was_changed_is_fetched_again(server, tmp_path):
    path = fetch(server, tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("announces", [True, False])
def test_a_connection_that_breaks_goes_on_where_it_was(server, tmp_path, announces):
    server.breaks, server.announces = [100_000, 50_000], announces
    assert fetch(server, tmp_path, size=len(CONTENT)).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_what_a_call_that_gave_up_has_fetched_is_where_the_next_begins(server, tmp_path):
    server.breaks = [1000, 1000, 1000]
    with pytest.raises(DownloadError, match=r"ended after 3,000 of 300,000 bytes.*3,000 bytes are kept"):
        fetch(server, tmp_path)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=3000-"


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.breaks, server.ranges = [100_000], False
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_the_part_of_an_older_file_does_not_spoil_the_newer_one(server, tmp_path):
    server.content = b"older" * 60_000
    server.breaks = [1000] * 3
    with pytest.raises(DownloadError):
        fetch(server, tmp_path)
    server.content = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_begun_again(server, tmp_path):
    server.content = bytes(400_000)
    server.breaks = [350_000, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch(server, tmp_path)
    server.content = CONTENT
    server.breaks = []
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_file_with_another_hash_is_deleted_unopened(server, tmp_path):
    with pytest.raises(DownloadError, match=f"SHA-256 {HASH}, expected {'0' * 64}") as caught:
        fetch(server, tmp_path, sha256="0" * 64)
    assert "deleted unopened" in str(caught.value)
    assert [path.stat().st_size for path in parts(tmp_path)] == [0]


def test_the_first_digits_of_a_hash_are_checked_as_such(server, tmp_path):
    assert fetch(server, tmp_path / "a", sha256=HASH[:8].upper()).read_bytes() == CONTENT
    wrong = f"{int(HASH[:8], 16) ^ 1:08x}"
    with pytest.raises(DownloadError, match=rf"expected {wrong}\.\.\."):
        fetch(server, tmp_path / "b", sha256=wrong)


@pytest.mark.parametrize("text", ["abc", "x" * 64, HASH + "0", "abcdefg"])
def test_what_is_no_hash_is_refused_before_anything_is_fetched(server, tmp_path, text):
    with pytest.raises(DownloadError, match="no SHA-256"):
        fetch(server, tmp_path, sha256=text)
    assert server.asked == []


def test_another_length_is_refused_before_the_bytes_come(server, tmp_path):
    with pytest.raises(DownloadError, match="has 300,000 bytes, expected 299,999"):
        fetch(server, tmp_path, size=len(CONTENT) - 1)


def test_a_stream_without_end_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(resumed_download, "LONGEST", 1000)
    server.announces = False
    with pytest.raises(DownloadError, match="longer than 1,000 bytes"):
        fetch(server, tmp_path)


def test_without_a_hash_nothing_is_kept_for_the_next_time(server, tmp_path):
    server.breaks = [1000] * 3
    with pytest.raises(DownloadError, match="Nothing was kept"):
        fetch(server, tmp_path, sha256="")
    server.asked.clear()
    for _ in range(2):
        assert fetch(server, tmp_path, sha256="").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, None]


def test_a_redirect_is_followed(server, tmp_path):
    server.redirects = {"/start": "/weights.pth?key=secret"}
    path = fetch(server, tmp_path, url=server.url.replace("weights.pth", "start"))
    assert path.read_bytes() == CONTENT and path.name == "start"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/round"])
def test_a_redirect_to_a_file_or_in_a_circle_is_not(server, tmp_path, target):
    server.redirects = {"/round": target}
    with pytest.raises(DownloadError):
        fetch(server, tmp_path, url=server.url.replace("weights.pth", "round"))


def test_a_file_that_is_not_there_is_an_error_at_once(server, tmp_path):
    server.codes = {"/weights.pth": [404]}
    with pytest.raises(DownloadError, match="the server says 404 Not Found"):
        fetch(server, tmp_path, url=f"{server.url}?key=secret")
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_and_no_key_is_shown(server, tmp_path):
    server.codes = {"/weights.pth": [503, 429]}
    assert fetch(server, tmp_path, url=f"{server.url}?key=secret").read_bytes() == CONTENT
    server.codes = {"/weights.pth": [503] * 3}
    with pytest.raises(DownloadError, match="503") as caught:
        fetch(server, tmp_path / "other", url=f"{server.url}?key=secret")
    assert "secret" not in str(caught.value)


def test_a_server_that_falls_silent_is_left_and_asked_for_the_rest(server, tmp_path):
    server.stalls = 1
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=10-"


def test_a_server_that_stays_silent_ends_in_an_error(server, tmp_path):
    server.stalls = 100
    with pytest.raises(DownloadError, match="timed out; gave up after 3 tries"):
        fetch(server, tmp_path)


def test_a_server_that_sends_next_to_nothing_counts_as_silent(monkeypatch):
    class Trickle:
        def read1(self, _):
            return b"x"

    monkeypatch.setattr(resumed_download, "_SLOWEST", 1 << 40)
    request = resumed_download._Request("http://x/y", "", None, print, Patience(seconds=0.01))
    with pytest.raises(resumed_download._Broken, match="bytes in 0 s, slower than"):
        for _ in resumed_download._chunks(Trickle(), request):
            pass


def test_nobody_there_is_an_error_that_names_the_address(tmp_path):
    with serving(b"") as gone:
        url = gone.url
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:\d+/weights\.pth: .*refused"):
        download(url, tmp_path, sha256=HASH, patience=QUICK)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/y", "", "weights.pth", "http://", "http://x:99999/", "http://a b/", "http://ü/"],
)
def test_what_is_no_web_address_is_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="is no address"):
        download(url, tmp_path)


@pytest.mark.parametrize(
    ("tail", "name"),
    [
        ("a/../../../../etc/passwd", "passwd"),
        ("%2e%2e%2fpasswd", "_2e_2e_2fpasswd"),
        ("..", "weights"),
        ("", "weights"),
        (".bashrc", "bashrc"),
        ("x" * 300, "x" * 120),
        ("a%00;rm -rf.pth".replace(" ", "+"), "a_00_rm_-rf.pth"),
    ],
)
def test_the_name_in_an_address_cannot_lead_out_of_the_folder(server, tmp_path, tail, name):
    path = fetch(server, tmp_path, url=server.url.replace("weights.pth", tail))
    assert path.name == name
    assert path.resolve().is_relative_to(tmp_path.resolve())


def test_a_folder_that_cannot_be_written_is_an_output_error(server, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(server, tmp_path / "file")


HOLD = """
import sys
from cornernet.trainer.import_weights.resumed_download import Patience, download
download(sys.argv[1], __import__("pathlib").Path(sys.argv[2]), sha256=sys.argv[3],
         progress=lambda *_: print("going", flush=True), patience=Patience(seconds=20))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the lock is flock")
def test_two_processes_do_not_write_into_one_part_and_a_killed_one_leaves_it(server, tmp_path):
    server.stalls = 1
    first = subprocess.Popen([sys.executable, "-c", HOLD, server.url, tmp_path, HASH], stdout=subprocess.PIPE)
    try:
        assert first.stdout.readline() == b"going\n"
        with pytest.raises(OutputError, match="another process is fetching it"):
            fetch(server, tmp_path)
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
