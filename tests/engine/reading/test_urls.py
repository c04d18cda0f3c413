"""Pictures from a server of our own: whole, broken, slow, too large, redirected, and not at all unless asked for."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, picture

from cornernet.engine.detector import Detector
from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import read_image
from cornernet.engine.reading.urls import fetch

IMAGE = picture(40, 60, (10, 10, 30, 30))
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()


class _Server(BaseHTTPRequestHandler):
    def do_GET(self):
        place = self.path.rpartition("/")[2].partition("?")[0]
        if place == "missing.png":
            return self.send_error(404)
        if place in ("moved.png", "file.png"):
            self.send_response(302)
            self.send_header("Location", "/a.png" if place == "moved.png" else "ftp://127.0.0.1/passwd")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if place == "silent.png":
            self.server.released.wait(5)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(PNG) * (2 if place == "broken.png" else 1)))
        self.end_headers()
        if place == "slow.png":
            for byte in PNG:
                self.wfile.write(bytes([byte]))
                if self.server.released.wait(0.05):
                    return None
        else:
            self.wfile.write(PNG)
        return None

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_is_fetched_only_if_that_was_asked_for(address):
    refused, fetched = (Detector(FunctionBackend(bright_box), allow_urls=allow) for allow in (False, True))
    for url in (f"{address}/a.png", f"{address}/moved.png", f"{address}/a.png?size=[1]*"):
        assert "allow_urls=True" in refused.predict(url)[0].error
        assert refused.predict(url)[0].error.startswith("http://127")
        assert fetched.predict(url)[0].boxes.tolist() == [[10, 10, 30, 30]]
        assert fetched.predict([url, "no.png"])[0].path == url
    np.testing.assert_array_equal(read_image(f"{address}/a.png", allow_urls=True), IMAGE)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("missing.png", "the server says 404"),
        ("file.png", "leads to ftp://127.0.0.1/passwd, which is no web address"),
        ("broken.png", "the connection ended"),
        ("silent.png", r"said nothing for 0\.3 s"),
        ("slow.png", r"not complete after 0\.4 s"),
    ],
)
def test_what_a_server_does_wrong_is_a_sentence_in_bounded_time(address, place, words):
    start = time.monotonic()
    with pytest.raises(ImageError, match=words):
        fetch(f"{address}/{place}", seconds=0.3, whole_seconds=0.4)
    assert time.monotonic() - start < 30  # far from for ever, on any machine


def test_a_picture_larger_than_the_limit_is_refused_and_so_is_no_server_at_all(address):
    with pytest.raises(ImageError, match="larger than 50 bytes"):
        fetch(f"{address}/a.png", most=50)
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch("http://127.0.0.1:1/a.png", seconds=2)
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch("http://[/a.png")
