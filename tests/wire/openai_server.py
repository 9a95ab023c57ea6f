"""A server on loopback that speaks OpenAI's wire formats (chat completions, responses, models), for tests with the real SDK.

    with OpenAIServer([say("text"), call("submit", {...})]) as server: ... server.url ... server.requests

An answer is made by `say`, `call` (several with +) or `fail`; a script is a list of them, or a function of the request's path and
body. It holds requests to the protocol: a result for every call, the sizes' name, reasoning handed back as it was.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-test-only"


class Answer:
    def __init__(self, text="", calls=(), usage=None, reason=None, cut=False, status=200, error=None, headers=None, raw=None):
        self.text, self.calls, self.usage, self.reason, self.cut = text, list(calls), usage or {}, reason, cut
        self.status, self.error, self.headers, self.raw = status, error, headers or {}, raw

    def __add__(self, other):
        return Answer(self.text + other.text, self.calls + other.calls, self.usage | other.usage)


def say(text, **more):
    return Answer(text, **more)


def call(name, arguments, **more):
    return Answer(calls=[(name, arguments if isinstance(arguments, str) else json.dumps(arguments))], **more)


def fail(status, message, headers=None, **fields):
    return Answer(status=status, error={"message": message, **fields}, headers=headers)


class OpenAIServer:
    def __init__(self, script, models=({"id": "small"},), has_chat=True, has_tools=True):
        self.requests, self.faults = [], []
        self.script, self.models, self.has_chat, self.has_tools = script, models, has_chat, has_tools
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, headers, body):
        if path.endswith("/chat/completions") and not self.has_chat:
            return fail(404, "Not Found")
        if body.get("tools") and not self.has_tools:
            return fail(400, f"registry.ollama.ai/library/{body['model']} does not support tools")
        self.requests.append({"path": path, "headers": headers, "body": body})
        if fault := _fault(path, body):
            return fail(400, fault)
        if callable(self.script):
            return self.script(path, body)
        number = len(self.requests) - 1
        return self.script[number] if number < len(self.script) else fail(500, "the script is over")


def _fault(path, body):
    if path.endswith("/responses"):
        called = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
        given = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
        reasoned = [item for item in body["input"] if item.get("type") == "reasoning"]
        if called and len(reasoned) == 0:
            return "a function call without the reasoning before it"
        return None if called == given else f"No tool output found for function calls {called}"
    called = [one["id"] for message in body["messages"] for one in message.get("tool_calls", [])]
    given = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    return None if called == given else f"tool_call_ids did not have response messages: {called}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: OpenAIServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        if isinstance(self.owner.models, Answer):
            body = json.dumps({"error": self.owner.models.error}).encode()
            return self._send(self.owner.models.status, {}, body, "application/json")
        self._send(200, {}, json.dumps({"object": "list", "data": list(self.owner.models)}).encode(), "application/json")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.owner.answer(self.path, dict(self.headers), body)
        if answer.error:
            self._send(answer.status, answer.headers, json.dumps({"error": answer.error}).encode(), "application/json")
        elif answer.raw is not None:
            self._send(200, {}, answer.raw, "text/html")
        else:
            render = _responses if self.path.endswith("/responses") else _chat
            events = list(render(answer, len(self.owner.requests)))
            events = events[: len(events) // 2] if answer.cut else events
            lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ([] if answer.cut else ["data: [DONE]\n\n"])
            self._send(200, {}, "".join(lines).encode(), "text/event-stream")

    def _send(self, status, headers, body, kind):
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _chat(answer, number):
    def chunk(delta, reason=None):
        return {
            "id": f"c{number}", "object": "chat.completion.chunk", "created": 0, "model": "small",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }  # fmt: skip

    yield chunk({"role": "assistant", "content": ""})
    for start in range(0, len(answer.text), 200):
        yield chunk({"content": answer.text[start : start + 200]})
    for index, (name, arguments) in enumerate(answer.calls):
        first = {"index": index, "id": f"call_{number}_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        yield chunk({"tool_calls": [first]})
        for start in range(0, len(arguments), 50):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 50]}}]})
    yield chunk({}, answer.reason or ("tool_calls" if answer.calls else "stop"))
    usage = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 600}}
    yield {**chunk({}), "choices": [], "usage": usage | answer.usage}


def _responses(answer, number):
    output = [{"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": f"secret thought {number}"}]
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        output.append({"type": "message", "id": f"m_{number}", "role": "assistant", "status": "completed", "content": [part]})
    for index, (name, arguments) in enumerate(answer.calls):
        key = f"call_{number}_{index}"
        output.append({"type": "function_call", "id": f"f{key}", "call_id": key, "name": name, "arguments": arguments})
    usage = {
        "input_tokens": 900, "output_tokens": 100, "total_tokens": 1000, "input_tokens_details": {"cached_tokens": 600},
        "output_tokens_details": {"reasoning_tokens": 10},
    }  # fmt: skip
    whole = {
        "id": f"r{number}", "object": "response", "created_at": 0, "model": "small", "output": output, "status": "completed",
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage | answer.usage, "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if answer.reason == "length" else None,
    }  # fmt: skip
    yield {"type": "response.created", "sequence_number": 0, "response": {**whole, "output": [], "usage": None}}
    yield {"type": "response.in_progress", "sequence_number": 1, "response": {**whole, "output": [], "usage": None}}
    kind = "response.incomplete" if answer.reason == "length" else "response.completed"
    yield {"type": kind, "sequence_number": 2, "response": whole}
