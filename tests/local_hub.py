"""A server on this machine that speaks the Hugging Face hub's protocol, for its real client: one repository, and files of any."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class Hub:
    """What the server holds, and what it was asked for."""

    url: str
    repository: str = "datasets/someone/texts"
    files: dict[str, bytes] = field(default_factory=dict)
    branches: tuple[str, ...] = ("main",)
    corrupt: bool = False
    stop_after: int | None = None  # bytes of a body, then the line is cut, and later GETs are refused
    is_cut: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, file, Range

    def answer(self, path: str, query: dict[str, list[str]]) -> object | None:
        """To a question about the repository or its owner; None: there is no such thing."""
        owner = self.repository.split("/")[1]
        if path == f"/api/organizations/{owner}/overview":
            return {"name": owner, "avatarUrl": "", "fullname": owner, "trustedKernelPublisher": True}
        kind, _, rest = path.removeprefix(f"/api/{self.repository}/").partition("/")
        if kind == "refs":
            branches = [{"name": one, "ref": f"refs/heads/{one}", "targetCommit": COMMIT} for one in self.branches]
            return {"branches": branches, "tags": [], "converts": []}
        revision, _, folder = rest.partition("/")
        if revision not in (*self.branches, COMMIT) or not path.startswith(f"/api/{self.repository}/"):
            return None
        if kind == "revision":
            return {"id": self.repository.partition("/")[2], "sha": COMMIT, "author": owner, "private": False}
        return self.tree(folder and f"{folder}/", query.get("recursive") in (["true"], ["True"], ["1"])) if kind == "tree" else None

    def tree(self, folder: str, is_recursive: bool) -> list[dict]:
        inside = {name: body for name, body in self.files.items() if name.startswith(folder)}
        parents = {folder + name.removeprefix(folder).split("/")[0] for name in inside} - inside.keys()
        found = [{"type": "directory", "path": one, "oid": "0" * 40} for one in sorted(parents)]
        at_hand = (name for name in inside if is_recursive or "/" not in name.removeprefix(folder))
        return found + [{"type": "file", "path": name, "size": len(inside[name]), "oid": "0" * 40} for name in at_hand]


@contextlib.contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """With hub.url set."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def handler_for(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer(with_body=False)

        def do_GET(self):
            self._answer(with_body=True)

        def log_message(self, *_):
            pass

        def _answer(self, with_body: bool) -> None:
            asked = urlsplit(self.path)
            path = unquote(asked.path)
            if path.startswith("/api/"):
                hub.requests.append((self.command, path, None))
                found = hub.answer(path, parse_qs(asked.query))
                body = json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            name = re.sub(r"^.*?/resolve/[^/]+/", "", path)
            asked_range = self.headers.get("Range")
            hub.requests.append((self.command, name, asked_range))
            content = hub.files.get(name)
            if content is None or (with_body and hub.is_cut):
                self.send_response(404 if content is None else 503)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = content[:-1] + bytes([content[-1] ^ 1]) if hub.corrupt else content
            start = int(asked_range.removeprefix("bytes=").rstrip("-")) if asked_range else 0
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if not with_body:
                return
            if hub.stop_after is not None:
                self.wfile.write(body[start : start + hub.stop_after])
                self.wfile.flush()
                hub.is_cut, self.close_connection = True, True
                return
            self.wfile.write(body[start:])

    return Handler
