"""A server on loopback that speaks Anthropic's Messages wire format, for tests and benchmarks that drive the real SDK.

    with WireServer(answers("one_answer")) as server:   # or WireServer(lambda request: {"content": [...]})
        ... ANTHROPIC_BASE_URL = server.url ...
    server.requests                                     # what came: {"headers": ..., "body": ..., "usage": ...}

What it knows of the service, it holds requests to: the key, four cache breakpoints at most and those of an hour before those of
five minutes, a result for every call of a tool, no empty text, no forced tool, thinking handed back with what came before it.
Its prompt cache is the service's: prefixes of the rendered request at the breakpoints, found up to 20 blocks back, for
their lifetime. A token is CHARACTERS_PER_TOKEN characters here.

An answer (also in transcripts/*.json, a list of them in `answers`) is a dict:

    content, stop_reason, output_tokens    a message; blocks of text, thinking and tool_use; the ids are made here
    status, error, headers                 an error before the stream: error = {"type": ..., "message": ...}
    cut_after                              with content: end after so many events; abrupt: without the end of the HTTP body
    error_after                            with content and error: an error event after so many events
    raw, raw_type                          a body that is sent as it is
    seconds                                to wait before the answer; event_seconds: before each event
"""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TRANSCRIPTS = Path(__file__).with_name("transcripts")
KEY = "sk-ant-test-only"
CHARACTERS_PER_TOKEN = 3.0  # assumed, not measured: the usual 4, less a third for the tokenizer of 2026's models
LOOK_BACK_BLOCKS = 20  # platform.claude.com/docs/en/build-with-claude/prompt-caching
LEAST_CACHED_TOKENS = 1024  # the same page; some models want more
LIFETIME_SECONDS = {"5m": 300, "1h": 3600}

Script = Callable[[dict], dict] | Sequence[dict]


def answers(name: str) -> list[dict]:
    """The answers of a transcript."""
    return json.loads((TRANSCRIPTS / f"{name}.json").read_text(encoding="utf-8"))["answers"]


class WireServer:
    def __init__(self, script: Script, clock: Callable[[], float] = time.monotonic):
        """clock: seconds, for the lifetime of what is cached."""
        self.requests: list[dict] = []
        self.cache = PromptCache(clock)
        self._script = script
        self._lock = threading.Lock()
        self._signatures: dict[str, str] = {}  # of a thinking block: the digest of what came before its message
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "WireServer":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, headers: dict, body: dict) -> tuple[dict, dict]:
        """(answer, usage) for a request, which is remembered."""
        with self._lock:
            number = len(self.requests)
            record = {"headers": headers, "body": body, "usage": None}
            self.requests.append(record)
        fault = _fault(headers, body) or self._thinking_fault(body)
        if fault:
            return fault, {}
        if callable(self._script):
            answer = self._script(body)
        elif number < len(self._script):
            answer = self._script[number]
        else:
            answer = {"status": 500, "error": {"type": "api_error", "message": f"the script has {number} answers only"}}
        if "content" not in answer:
            return answer, {}
        usage = record["usage"] = self.cache.usage(body)
        for index, block in enumerate(answer["content"]):
            if block["type"] == "thinking":
                self._signatures[f"signature-{number}-{index}"] = _digest(_blocks(body))
        return {**answer, "number": number}, usage

    def _thinking_fault(self, body: dict) -> dict | None:
        for index, message in enumerate(body["messages"]):
            for block in message["content"]:
                before = _digest(_blocks({**body, "messages": body["messages"][:index]}))
                if block["type"] == "thinking" and self._signatures.get(block["signature"]) != before:
                    return _error(400, "invalid_request_error", "a thinking block does not belong to what comes before it")
        return None


class PromptCache:
    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._ends: dict[str, tuple[float, str]] = {}  # digest of a prefix: when its time is over, and its lifetime

    def usage(self, body: dict) -> dict:
        """What the service would count for a request, and from now on the cache that it leaves."""
        blocks, now = _blocks(body), self._clock()
        digests, sizes = [], []  # of the prefix that ends with each block
        running, size = hashlib.sha256(), 0.0
        for block, _ in blocks:
            running.update(block.encode())
            size += len(block) / CHARACTERS_PER_TOKEN
            digests.append(running.hexdigest())
            sizes.append(math.ceil(size))
        marks = [(index, lifetime) for index, (_, lifetime) in enumerate(blocks) if lifetime]
        read_end = self._longest(digests, [index for index, _ in marks], now)
        read = sizes[read_end] if read_end >= 0 else 0
        written, start = {"5m": 0, "1h": 0}, read
        for index, lifetime in marks:
            if sizes[index] < LEAST_CACHED_TOKENS:
                continue
            written[lifetime] += max(0, sizes[index] - start)
            start = max(start, sizes[index])
            self._ends[digests[index]] = now + LIFETIME_SECONDS[lifetime], lifetime
        return {
            "input_tokens": sizes[-1] - start,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": sum(written.values()),
            "cache_creation": {f"ephemeral_{lifetime}_input_tokens": count for lifetime, count in written.items()},
        }

    def _longest(self, digests: list[str], marks: list[int], now: float) -> int:
        """The last block of the longest prefix that is cached; a hit prolongs it."""
        for mark in reversed(marks):
            for index in range(mark, max(-1, mark - LOOK_BACK_BLOCKS), -1):
                end, lifetime = self._ends.get(digests[index], (0.0, ""))
                if end > now:
                    self._ends[digests[index]] = now + LIFETIME_SECONDS[lifetime], lifetime
                    return index
        return -1


def _blocks(body: dict) -> list[tuple[str, str | None]]:
    """(text, lifetime of its breakpoint or None) of every block in the order of the prefix: tools, system, messages."""
    system = body.get("system", [])
    parts = [*body.get("tools", []), *([{"type": "text", "text": system}] if isinstance(system, str) else system)]
    parts += [{**block, "role": message["role"]} for message in body["messages"] for block in message["content"]]
    return [
        (
            json.dumps({name: value for name, value in part.items() if name != "cache_control"}, sort_keys=True),
            part["cache_control"].get("ttl", "5m") if part.get("cache_control") else None,
        )
        for part in parts
    ]


def _digest(blocks: list[tuple[str, str | None]]) -> str:
    return hashlib.sha256("".join(block for block, _ in blocks).encode()).hexdigest()


def _error(status: int, kind: str, message: str) -> dict:
    return {"status": status, "error": {"type": kind, "message": message}}


def _fault(headers: dict, body: dict) -> dict | None:
    """What the service itself would refuse."""
    if KEY not in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer ")):  # older SDKs, newer ones
        return _error(401, "authentication_error", "invalid API key")

    def bad(message: str) -> dict:
        return _error(400, "invalid_request_error", message)

    lifetimes = [lifetime for _, lifetime in _blocks(body) if lifetime]
    if len(lifetimes) > 4:
        return bad(f"a maximum of 4 blocks with cache_control may be provided, found {len(lifetimes)}")
    if lifetimes != sorted(lifetimes):  # "1h" before "5m"
        return bad("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
    if body.get("tool_choice", {"type": "auto"})["type"] != "auto":
        return bad("forced tool use is not supported for this model")
    if not body.get("stream") or not body["max_tokens"] > 0:
        return bad("this server streams only, and max_tokens has to be positive")
    calls: list[str] = []
    for index, message in enumerate(body["messages"]):
        if message["role"] != ("user", "assistant")[index % 2] or not message["content"]:
            return bad(f"messages.{index}: roles have to alternate, and content must not be empty")
        if any(block["type"] == "text" and not block["text"].strip() for block in message["content"]):
            return bad(f"messages.{index}: text content blocks must contain non-whitespace text")
        if calls != [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]:
            return bad(f"messages.{index}: every tool_use needs its tool_result in the next message")
        calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    return bad("the last message has to be the user's") if len(body["messages"]) % 2 == 0 else None


# -------------------------------------------------------------------------------------------------------------- HTTP


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: WireServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/messages":
            self._send(404, {}, json.dumps(_error(404, "not_found_error", "no such path")["error"]))
            return
        answer, usage = self.owner.answer({name.lower(): value for name, value in self.headers.items()}, body)
        time.sleep(answer.get("seconds", 0))
        try:
            if "raw" in answer:
                self._send(200, {"content-type": answer.get("raw_type", "text/event-stream")}, answer["raw"])
            elif "content" in answer:
                self._stream(answer, usage, body["model"])
            else:
                text = json.dumps({"type": "error", "error": answer["error"]})
                self._send(answer["status"], {"content-type": "application/json", **answer.get("headers", {})}, text)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has had enough

    def _send(self, status: int, headers: dict, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, answer: dict, usage: dict, model: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = list(_events(answer, usage, model))
        if "error_after" in answer:
            events = [*events[: answer["error_after"]], ("error", {"type": "error", "error": answer["error"]})]
        for name, data in events[: answer.get("cut_after", len(events))]:
            time.sleep(answer.get("event_seconds", 0))
            text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        if answer.get("abrupt"):
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_) -> None:
        pass


def _events(answer: dict, usage: dict, model: str):
    """The stream of a message."""
    number, content = answer["number"], answer["content"]
    calls = any(block["type"] == "tool_use" for block in content)
    size = sum(len(json.dumps(block)) for block in content)
    output_tokens = answer.get("output_tokens", math.ceil(size / CHARACTERS_PER_TOKEN))
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None}
    message |= {"stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": message}
    yield "ping", {"type": "ping"}
    for index, block in enumerate(content):
        yield from _block_events(index, block, f"{number}-{index}")
    stop_reason = answer.get("stop_reason", "tool_use" if calls else "end_turn")
    delta = {"stop_reason": stop_reason, "stop_sequence": None, "stop_details": answer.get("stop_details")}
    yield "message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}
    yield "message_stop", {"type": "message_stop"}


def _block_events(index: int, block: dict, name: str):
    if block["type"] == "text":
        start, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
    elif block["type"] == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [{"type": "signature_delta", "signature": f"signature-{name}"}]
    else:
        start = {"type": "tool_use", "id": f"toolu_{name}", "name": block["name"], "input": {}}
        text = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])  # a str: as it is, even if broken
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in _parts(text)]
    yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": index}


def _parts(text: str) -> list[str]:
    return [text[start : start + 500] for start in range(0, len(text), 500)]
