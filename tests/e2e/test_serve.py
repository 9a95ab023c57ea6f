"""`autoresearch serve`: what it tells whom, and that it stays beside whatever happens to the study."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pages
import pytest
from browser import Watched, launched
from waiting import wait_for

from autoresearch.errors import UsageError
from autoresearch.report.page import server
from autoresearch.report.page.follow import Follower
from autoresearch.study import lock

pytestmark = pytest.mark.slow
TOKEN = "a-token-of-20-letters"


@pytest.fixture(scope="module")
def template(tmp_path_factory, corpus):
    return pages.made(tmp_path_factory.mktemp("serve") / "study", corpus, 12)


@pytest.fixture
def study(template, tmp_path):
    """A copy of the template's folder."""
    shutil.copytree(template.folder, tmp_path / "study")
    return server.Study(**vars(template) | {"folder": tmp_path / "study"})


@contextlib.contextmanager
def serving(study, token: str | None = None, host: str = "127.0.0.1"):
    with server.Server(study, host, 0, token) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join()


def ask(one: server.Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", one.server_port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return found


class Stream:
    """A browser's end of /events."""

    def __init__(self, one: server.Server, **headers: str):
        self._connection = http.client.HTTPConnection("127.0.0.1", one.server_port, timeout=20)
        self._connection.request("GET", "/events", headers=headers)
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[str, dict]:
        kind = data = ""
        while line := self.answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            kind, data = (value, data) if name == "event" else (kind, value) if name == "data" else (kind, data)
        return kind, json.loads(data)

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def test_what_it_answers(study):
    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")}
    with serving(study) as one:
        status, headers, page = ask(one, "/")
        assert status == 200 and b'id="data">{"live":true}<' in page
        assert "connect-src 'self'" in headers["Content-Security-Policy"] and "Access-Control-Allow-Origin" not in headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Frame-Options"] == "DENY"
        status, _, body = ask(one, "/experiment/3")
        assert status == 200 and "GATE_CHANNELS" in json.loads(body)["diff"]
        assert [ask(one, path)[0] for path in ("/experiment/99", "/experiment/x", "/../study.toml", "/x")] == [404] * 4
        status, headers, body = ask(one, "/", "HEAD")
        assert (status, body, headers["Content-Length"]) == (200, b"", str(len(page)))
        assert [ask(one, "/", method)[0] for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")] == [405] * 5
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*")} == before  # it only reads


def test_other_names_and_other_sites_are_refused(study):
    with serving(study) as one:
        port = one.server_port
        named = (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil.org",
            "10.0.0.7",
            "",
            "[::1",
            "a:b",
        )
        for host in named:
            assert ask(one, "/experiment/1", Host=host)[0] == 403, host
        for host in ("localhost", "127.0.0.1:9999", "[::1]:80"):  # a tunnel has another port
            assert ask(one, "/experiment/1", Host=host)[0] == 200, host
        assert ask(one, "/experiment/1", Origin="https://evil.example")[0] == 403
        assert ask(one, "/experiment/1", Origin=f"http://127.0.0.1:{port}")[0] == 200
        for site in ("cross-site", "same-site"):  # an image or a script of another page names no Origin
            foreign = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
            assert ask(one, "/events", **foreign)[0] == ask(one, "/experiment/1", **foreign)[0] == 403
            assert ask(one, "/", **foreign | {"Sec-Fetch-Mode": "navigate"})[0] == 200  # a link to it was clicked


def test_who_opens_too_many_connections_keeps_nobody_out_for_long(study, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with serving(study) as one:
        idle = [socket.create_connection(("127.0.0.1", one.server_port)) for _ in range(3)]
        wait_for(lambda: not one._room._value or None, 20)
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(one, "/")
        for each in idle:
            each.close()
        wait_for(lambda: one._room._value or None, 20)
        assert ask(one, "/")[0] == 200


def test_with_a_token(study):
    with serving(study, TOKEN) as one:
        assert one.url.endswith(f"/?token={TOKEN}")
        for path in ("/", "/events", "/experiment/1", "/?token=wrong", "/?token=", "/x"):
            assert ask(one, path)[0] == 401, path
        status, headers, _ = ask(one, f"/?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "/") and {"HttpOnly", "SameSite=Strict"} <= set(
            headers["Set-Cookie"].split("; ")
        )
        cookie = headers["Set-Cookie"].split(";")[0]
        assert TOKEN not in cookie, "a server at another port is sent it, too"
        assert ask(one, "/", Cookie=cookie)[0] == ask(one, "/experiment/1", Cookie=cookie)[0] == 200
        assert ask(one, f"/experiment/1?token={TOKEN}")[0] == 200
        assert ask(one, "/", Cookie=cookie[:-1])[0] == ask(one, "/", Cookie="\x01=;;")[0] == 401


def test_a_call_that_cannot_be_is_one_line(study, typed):
    at = ("--workspace", str(study.folder))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        calls = [("--port", str(taken.getsockname()[1])), ("--host", "0.0.0.0"), ("--host", "my-box"), ("--token", "short")]
        for words in calls:
            status, out, complaint = typed("serve", *words, *at)
            assert (status, out, complaint.count("\n")) == (2, "", 1) and complaint.startswith("error: "), complaint
    with pytest.raises(UsageError, match="--token"):
        server.check("192.168.1.5", None)
    server.check("::1", None)
    server.check("0.0.0.0", TOKEN)


def test_several_browsers_are_told_of_each_change(study):
    with serving(study) as one:
        streams = [Stream(one), Stream(one)]
        for stream in streams:
            kind, table = stream.next()
            assert (kind, len(table["experiments"]), table["running"]) == ("state", 13, False)
        pages.grow(study, 1)
        for stream in streams:
            kind, change = stream.next()
            assert (kind, [row["n"] for row in change["experiments"]]) == ("change", [13])
        streams[0].close()
        with lock.hold(study.lock):  # a run begins, and ends
            assert streams[1].next()[1]["running"]
        assert not streams[1].next()[1]["running"]
        streams[1].close()


def test_too_many_browsers_are_told_so(study, monkeypatch):
    monkeypatch.setattr(server, "MOST_STREAMS", 1)
    with serving(study) as one:
        first = Stream(one)
        first.next()
        refused = Stream(one)
        assert refused.answer.status == 503
        refused.close()
        first.close()


def test_whatever_happens_to_the_ledger(study, corpus, tmp_path):
    """Half a line, a cut, a repair, a vanished folder, another study in its place."""
    follower = Follower(study)
    assert follower.look() is None
    whole = study.events.read_bytes()
    early = b"".join(whole.splitlines(keepends=True)[:-3])
    with open(study.events, "ab") as file:
        file.write(b'{"seq":')
    assert follower.look() is None
    study.events.write_bytes(whole)
    assert follower.look()["trouble"] is None and follower.look() is None
    study.events.write_bytes(early[:-20])  # cut in mid-line
    change = follower.look()
    assert change["all"] and change["trouble"] is None and len(change["experiments"]) == 13
    study.events.write_bytes(whole)
    assert follower.look()["experiments"] and follower.whole()["experiments"][12]["outcome"] == "keep"
    study.events.write_bytes(whole[:-50] + b"x" * 49 + b"\n")  # as long, and no ledger's line
    assert "is damaged" in follower.look()["trouble"]
    study.events.write_bytes(whole)
    assert follower.look()["trouble"] is None
    study.folder.rename(tmp_path / "away")
    assert "is gone" in follower.look()["trouble"] and follower.look() is None
    assert follower.details(3)["log"] == ""
    (tmp_path / "away").rename(study.folder)
    assert follower.look()["trouble"] is None and len(follower.whole()["experiments"]) == 13
    shutil.rmtree(study.folder)
    pages.made(study.folder, corpus, 1)
    follower.look()
    assert len(follower.whole()["experiments"]) == 2 and follower.whole()["trouble"] is None


def test_the_command_is_ended_by_ctrl_c(study):
    command = [sys.executable, "-m", "autoresearch.cli", "serve", "--port", "0", "--workspace", str(study.folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        out, complaint = process.communicate(timeout=30)
    assert (process.returncode, out, complaint.strip()) == (130, "", "")


def test_the_page_follows_and_keeps_what_was_chosen(study):
    with launched() as browser, serving(study, TOKEN) as one:
        seen = Watched(browser, one.url)
        assert seen.page.url == one.url.partition("?")[0] and seen.drawn("chart") > 1000
        seen.page.fill("#search", "gate_channels")
        seen.page.click('#table tr[data-n="7"]')
        seen.page.wait_for_selector("#d-diff .add")
        seen.page.focus('#table tr[data-n="3"]')
        seen.page.evaluate("scrollTo(0, 500)")
        pages.grow(study, 4)  # 13 to 16
        seen.page.wait_for_selector('#table tr[data-n="15"]')
        assert seen.numbers() == [15, 11, 7, 3]
        assert seen.page.locator("#count").inner_text() == "4 of 17"
        assert seen.page.locator("#d-title").inner_text().startswith("7. ")
        assert seen.page.evaluate("document.activeElement.dataset.n") == "3" and seen.page.evaluate("scrollY") >= 500
        origin = one.url.partition("?")[0]
        assert seen.complaints == [] and all(url.startswith(origin) for url in seen.asked)
        shutil.rmtree(study.folder)
        seen.page.wait_for_selector("#notice >> text=folder is gone")
