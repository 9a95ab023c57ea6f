"""The page of a running study over HTTP, for `serve`: read-only, for this machine's own browsers unless told otherwise.

    /                the page, without data          /events          server-sent events: `state`, the whole table, then `change`
    /experiment/N    its details as JSON

Who may ask: a request whose Host is a name that no name server can point here (a number, or localhost), which comes from no other
site's page, and which has the token, where one is set. GET and HEAD alone; nothing that is asked changes anything.
"""

import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
import socketserver
import threading
import time
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from autoresearch.errors import UsageError
from autoresearch.report.page import html
from autoresearch.report.page.follow import Follower
from autoresearch.study.workspace import Study

LOOK_SECONDS = 1.0  # between two looks at the ledger, while somebody watches
BEAT_SECONDS = 15.0  # of silence, after which a stream says a word: else a browser that is gone would not be noticed
SEND_SECONDS = 30.0  # for who asks or reads slowly
MOST_STREAMS = 32
MOST_CONNECTIONS = 100  # chosen: the streams, and what their pages ask for
_SELF = "'self'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # of what is no page
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Feed:
    """What all browsers are told: looked for by one thread, once for all of them, and not at all while nobody watches."""

    def __init__(self, study: Study):
        self.follower = Follower(study)
        self._news = threading.Condition()
        self._version, self._change = 0, b""
        self._watching = 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._watching)
                self._take()
            time.sleep(LOOK_SECONDS)

    def _take(self) -> None:
        if (change := self.follower.look()) is not None:
            self._version += 1
            self._change = _event("state" if change["all"] else "change", change)
            self._news.notify_all()

    def join(self) -> bool:
        """Whether there is room for one more who watches."""
        with self._news:
            if self._watching >= MOST_STREAMS:
                return False
            self._watching += 1
            self._news.notify_all()
            return True

    def leave(self) -> None:
        with self._news:
            self._watching -= 1

    def whole(self) -> tuple[int, bytes]:
        """(version, the event that tells all)."""
        with self._news:
            self._take()  # nobody may have watched for hours
            return self._version, _event("state", self.follower.whole())

    def next(self, version: int) -> tuple[int, bytes]:
        """The next version, waited for: its event, or a comment when nothing happens."""
        with self._news:
            if not self._news.wait_for(lambda: self._version != version, BEAT_SECONDS):
                return version, b": nothing new\n\n"
            if self._version == version + 1:
                return self._version, self._change
        return self.whole()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would share the port with another program

    def __init__(self, study: Study, host: str, port: int, token: str | None):
        self.token, self.session = token, secrets.token_urlsafe()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.is_local = _address(host).is_loopback
        self.address_family = socket.AF_INET6 if _address(host).version == 6 else socket.AF_INET
        self.page = html.page(f"{study.tag} · autoresearch", {"live": True}, _SELF).encode()
        try:
            super().__init__((str(_address(host)), port), Handler)
        except OSError as error:
            raise UsageError(
                f"{host} port {port} can't be had ({error.strerror or error}); `--port 0` takes one that is free"
            ) from error
        self.feed = Feed(study)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks a name server for its name, which may take seconds
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Each connection is a thread; who opens too many is not answered."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error, and what is one has been answered."""

    @property
    def url(self) -> str:
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/{f'?token={self.token}' if self.token else ''}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "autoresearch", ""
    timeout = SEND_SECONDS

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if refusal := self._refusal():
            return self._send(*refusal)
        given = parse_qs(asked.query).get("token", [""])[0]
        if self.server.token and not self._is_known(given):
            return self._send(
                401, "text/plain", b"the token is missing or wrong; open the address that `autoresearch serve` has printed\n"
            )
        if asked.path == "/" and given and self.server.token:  # from here on it is a cookie, and in no address
            cookie = f"{self._cookie}={self.server.session}; Path=/; HttpOnly; SameSite=Strict"
            return self._send(303, "text/plain", b"", {"Location": "/", "Set-Cookie": cookie})
        if asked.path == "/":
            policy = {"Content-Security-Policy": f"{html.policy(_SELF)}; frame-ancestors 'none'"}
            return self._send(200, "text/html", self.server.page, policy)
        if asked.path == "/events":
            return self._stream()
        if match := re.fullmatch(r"/experiment/(\d{1,9})", asked.path):
            details = self.server.feed.follower.details(int(match[1]))
            if details is not None:
                return self._send(200, "application/json", _json(details))
        return self._send(404, "text/plain", b"there is no such page; / is the study\n")

    do_HEAD = do_GET

    def _not_allowed(self) -> None:
        self._send(405, "text/plain", b"this page is read-only\n", {"Allow": "GET, HEAD", "Connection": "close"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _not_allowed

    def _refusal(self) -> tuple[int, str, bytes] | None:
        host = self.headers.get("Host", "")
        if not _is_ours(host, self.server.is_local):
            return 403, "text/plain", b"open this page by number (http://127.0.0.1:PORT/) or as localhost, not by another name\n"
        origin = self.headers.get("Origin")
        is_visit = self.path.startswith("/") and self.headers.get("Sec-Fetch-Mode") == "navigate"
        is_foreign = self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not is_visit
        if origin not in (None, f"http://{host}") or is_foreign:
            return 403, "text/plain", b"this page answers no other site\n"
        return None

    def _is_known(self, given: str) -> bool:
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        kept = cookies[self._cookie].value if self._cookie in cookies else ""
        known = ((self.server.token or "", given), (self.server.session, kept))  # another port's server is sent the cookie, too
        return any([hmac.compare_digest(secret.encode(), word.encode()) for secret, word in known])

    @property
    def _cookie(self) -> str:
        """Browsers keep cookies by host, for all its ports."""
        return f"autoresearch-{self.server.server_port}"

    def _stream(self) -> None:
        if self.command == "HEAD":
            return self._send(200, "text/event-stream", b"")
        feed = self.server.feed
        if not feed.join():
            return self._send(503, "text/plain", b"too many browsers watch already; close one\n")
        try:
            self.close_connection = True
            self._head(200, "text/event-stream", {"Connection": "close"})
            version, event = feed.whole()
            while True:
                self.wfile.write(event)
                version, event = feed.next(version)
        finally:
            feed.leave()

    def _send(self, status: int, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        if self.command not in ("GET", "HEAD"):
            self.close_connection = True  # a body that was sent along is not read
        self._head(status, kind, {"Content-Length": str(len(body))} | (more or {}))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | {"Content-Type": f"{kind}; charset=utf-8"} | more).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, form: str, *words: Any) -> None:
        """Not on the terminal: addresses hold tokens."""


def check(host: str, token: str | None) -> None:
    """UsageError for what would show the study to others without a token."""
    try:
        address = _address(host)
    except ValueError:
        raise UsageError(
            f"--host {host!r} is no address; give a number, such as 192.168.1.5, or 0.0.0.0 for all of this machine's"
        ) from None
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", token):
        how = 'python -c "import secrets; print(secrets.token_urlsafe())"'
        raise UsageError(f"--token takes 16 to 200 letters, digits, - and _; `{how}` makes one")
    if not address.is_loopback and token is None:
        raise UsageError(f"--host {host} shows the study to others; add --token TOKEN, and give the token to those who may see it")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)


def _is_ours(host: str, is_local: bool) -> bool:
    """Whether a Host header names this machine in a way that no name server has a say in."""
    try:
        return _address(urlsplit(f"//{host}").hostname or "").is_loopback or not is_local
    except ValueError:
        return False


def _event(kind: str, data: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _json(data) + b"\n\n"


def _json(data: object) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
