"""The bounds of a request that no SDK has: bytes, time, packing, other servers. Both SDKs, against raw servers on loopback."""

import contextlib
import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from autoresearch.agents.base import Unavailable
from autoresearch.agents.claude import service as claude
from autoresearch.agents.llm import http
from autoresearch.agents.llm.reply import is_at_home
from autoresearch.agents.openai import service as openai
from autoresearch.errors import EnvironmentFailure

REQUEST = {
    "max_tokens": 2000, "system": [{"type": "text", "text": "x"}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "tools": [],
}  # fmt: skip


@pytest.fixture
def serve():
    """serve(handle) -> the address of a server whose requests handle(handler) answers; paths that came are in serve.paths."""
    servers = []

    def start(handle):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                start.paths.append(self.path)
                with contextlib.suppress(ConnectionError):
                    handle(self)

            def do_GET(self):
                with contextlib.suppress(ConnectionError):
                    handle(self)

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        servers[-1].daemon_threads = True
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    start.paths = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["claude", "openai"])
def made(request, monkeypatch):
    """made(address) -> a service of either SDK."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")

    def make(address):
        if request.param == "openai":
            return openai.Service("m", f"{address}/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
        return claude.Service("m")

    return make


def head(handler, status=200, kind="text/event-stream", **fields):
    handler.send_response(status)
    for name, value in {"content-type": kind, **fields}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def without_end(handler, part, status=200, pause=0.0):
    head(handler, status, "application/json" if status != 200 else "text/event-stream")
    for _ in range(200):
        handler.wfile.write(part)
        handler.wfile.flush()
        time.sleep(pause)


@pytest.mark.parametrize(("status", "part"), [(500, b"A" * (1 << 20)), (200, b"A" * (1 << 20)), (200, b": ping\n\n" * 10_000)])
def test_an_answer_without_an_end_takes_no_memory_without_an_end(made, serve, status, part, monkeypatch):
    monkeypatch.setattr(http, "MOST_BYTES", 4 << 20)
    answer = made(serve(lambda handler: without_end(handler, part, status))).ask(REQUEST)
    assert answer.ask.outcome == "endless answer" and isinstance(answer.error, Unavailable)


@pytest.mark.parametrize(("status", "part"), [(500, b"A"), (200, b": ping\n\n")])
def test_time_and_interest_are_looked_at_with_each_byte(made, serve, status, part, monkeypatch):
    service = made(serve(lambda handler: without_end(handler, part, status, pause=0.05)))
    answer = service.ask(REQUEST, lambda: False)
    assert answer.ask.outcome == "ended early"
    monkeypatch.setattr(service, "_request_seconds", 0.3, raising=False)
    monkeypatch.setattr(openai, "REQUEST_SECONDS", 0.3)
    answer = service.ask(REQUEST)
    assert answer.ask.outcome == "timed out" and str(answer.error) == "no whole answer within 0.3 s"


def test_a_packed_answer_is_refused(made, serve):
    def packed(handler):
        head(handler, content_encoding="gzip")
        handler.wfile.write(gzip.compress(b"0" * 1000))

    answer = made(serve(packed)).ask(REQUEST)
    assert answer.ask.outcome == "malformed answer" and "packed as 'gzip'" in str(answer.error)


def test_a_redirection_is_not_followed(made, serve):
    other = serve(lambda handler: head(handler, 500))
    answer = made(serve(lambda handler: head(handler, 307, location=f"{other}/admin/shutdown"))).ask(REQUEST)
    assert isinstance(answer.error, EnvironmentFailure) and "elsewhere (307), which is not followed; mend" in str(answer.error)
    assert "/admin/shutdown" not in serve.paths


def test_a_list_of_models_has_a_limit_too(serve, monkeypatch):
    monkeypatch.setattr(openai, "LIST_SECONDS", 0.3)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    service = openai.Service("m", f"{serve(lambda handler: without_end(handler, b' ', 200, pause=0.05))}/v1")
    with pytest.raises(Unavailable, match="no whole answer within"):
        service.list_models()


AT_HOME = ("localhost:11434", "127.0.0.1", "[::1]:8080", "192.168.1.7:80", "gpu-box", "box.local")


@pytest.mark.parametrize("host", [*AT_HOME, "api.openai.com", "8.8.8.8:443"])
def test_which_servers_are_at_home(host):
    assert is_at_home(host) == (host in AT_HOME)
