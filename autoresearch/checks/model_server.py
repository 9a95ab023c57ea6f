"""A model on loopback that answers without thinking: for trying a coding agent out, without a key and without cost.

It speaks Anthropic's messages, OpenAI's chat completions and responses, and Gemini's generateContent, as far as clients ask of it.
Of the tools that a client offers it calls one that reads and one that writes (else a shell) for each file that it is told to write,
and then ends; a client without tools gets the first file's text as its answer. Paths are relative to the folder of TASK.md, whose
name stands in what the client sends.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

READERS = ("Read", "read", "read_file", "view")
CREATOR, EDITOR = "create", "edit"
WRITERS = ("Write", "write", "write_file", "create_file", CREATOR)
SHELLS = ("exec_command", "shell_command", "shell", "bash", "Bash", "run_shell_command")
USED = {"input": 1000, "output": 50}  # tokens that every answer claims

Table = dict[str, Any]
Call = tuple[str, Table] | str  # (a tool's name, its arguments), or words


@dataclass(frozen=True)
class Request:
    path: str
    body: str
    tools: tuple[str, ...]  # that the client offers


class ModelServer:
    """files: (path, its text, the new one) to be written, in order. status: instead of answering, refuse with it."""

    def __init__(self, files: list[tuple[str, str, str]], status: int = 200):
        self.requests: list[Request] = []
        self._files, self._status = files, status
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "ModelServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: str) -> tuple[int, str, str]:
        """(status, content type, body)."""
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        wire = next((wire for end, wire in WIRES.items() if end in path), None)
        tools = _tools(asked)
        self.requests.append(Request(path, body, tuple(tools)))
        if self._status != 200:
            fault = {"type": "authentication_error", "message": "no such key"}
            return self._status, "application/json", json.dumps({"error": fault})
        if wire is None or "count_tokens" in path:
            return 200, "application/json", json.dumps({"object": "list", "data": [], "models": [], "input_tokens": 1000})
        done, events = wire(self._next(body, tools), asked.get("model", "check-model"), len(self.requests))
        if asked.get("stream") or "streamGenerate" in path:
            lines = [
                (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n" for event in events
            ]
            return 200, "text/event-stream", "".join(lines) + ("data: [DONE]\n\n" if "chat/completions" in path else "")
        return 200, "application/json", json.dumps(done)

    def _next(self, body: str, tools: dict[str, Table]) -> Call:
        reader, writer, shell = (next((name for name in names if name in tools), None) for names in (READERS, WRITERS, SHELLS))
        folder = (re.findall(r"(/[^\s\"'`\\]+)/TASK\.md", body) or ["."])[-1]
        if not (writer or shell):
            fence = "````" if "````" in body else "```"  # aider asks for the longer where a file holds the other
            return f"train.py\n{fence}\n{self._files[0][2]}{fence}\n"
        steps: list[Call] = []
        for path, before, text in self._files:
            full_path = f"{folder}/{path}"
            if writer:
                steps += [(reader, _arguments(tools[reader], full_path))] if reader else []
                changer = EDITOR if writer == CREATOR and before and EDITOR in tools else writer  # a file that is there is edited
                steps.append((changer, _arguments(tools[changer], full_path, text, before)))
            elif shell:
                steps.append((shell, _arguments(tools[shell], f"cat > '{full_path}' <<'END'\n{text}END\n")))
        done = len(re.findall(r'"(?:tool_use_id|tool_call_id|functionResponse)"|"type":\s*"\w*call_output"', body))
        return steps[done] if done < len(steps) else "Done."


def _tools(asked: Table) -> dict[str, Table]:
    """Name and schema of every tool that is offered, in whichever of the formats."""
    schemas: dict[str, Table] = {}
    for tool in asked.get("tools") or []:
        for function in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            if name := function.get("name"):
                schema = (function.get(key) for key in ("input_schema", "parameters", "parametersJsonSchema"))
                schemas[name] = next((candidate for candidate in schema if candidate), {})
    return schemas


def _arguments(schema: Table, first: str, text: str = "", before: str = "") -> Table:
    """Arguments that fit the schema. first: the path, or the command. before: the text that is replaced."""
    arguments: Table = {}
    required = schema.get("required", [])
    for name, about in schema.get("properties", {}).items():
        kind = str(about.get("type", "string")).lower()
        if re.search(r"path|^cmd$|^command$|^file$", name.lower()):
            arguments[name] = ["bash", "-c", first] if kind == "array" else first
        elif name.startswith("old_"):
            arguments[name] = before
        elif re.search(r"content|text|^new_", name.lower()) and text:
            arguments[name] = text
        elif name in required:
            arguments[name] = {"boolean": False, "integer": 1, "number": 1, "array": [], "object": {}}.get(kind, "train.py")
    return arguments


# Each answer once as a whole and once as a list of events. Sources: the services' own pages of these names.


def _anthropic(call: Call, model: str, number: int) -> tuple[Table, list[Table]]:
    usage = {"input_tokens": USED["input"], "output_tokens": USED["output"]}
    usage |= {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    block: Table = {"type": "text", "text": ""}
    if isinstance(call, str):
        delta, stop, whole = {"type": "text_delta", "text": call}, "end_turn", {**block, "text": call}
    else:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": call[0], "input": {}}
        delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}, "tool_use"
        whole = {**block, "input": call[1]}
    message: Table = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "usage": usage}
    return {**message, "content": [whole], "stop_reason": stop, "stop_sequence": None}, [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


def _chat(call: Call, model: str, number: int) -> tuple[Table, list[Table]]:
    usage = {"prompt_tokens": USED["input"], "completion_tokens": USED["output"], "total_tokens": sum(USED.values())}
    message: Table = {"role": "assistant", "content": call if isinstance(call, str) else None}
    if not isinstance(call, str):
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message["tool_calls"] = [{"index": 0, "id": f"call_{number}", "type": "function", "function": function}]
    stop = "stop" if isinstance(call, str) else "tool_calls"
    base: Table = {"id": f"chat_{number}", "created": 1, "model": model}
    chunk = {**base, "object": "chat.completion.chunk"}
    choices = [{"index": 0, "message": message, "finish_reason": stop}]
    return {**base, "object": "chat.completion", "choices": choices, "usage": usage}, [
        {**chunk, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": stop}], "usage": usage},
    ]


def _responses(call: Call, model: str, number: int) -> tuple[Table, list[Table]]:
    usage: Table = {"input_tokens": USED["input"], "output_tokens": USED["output"], "total_tokens": sum(USED.values())}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    item: Table
    if isinstance(call, str):
        item = {"type": "message", "role": "assistant", "id": f"msg_{number}", "status": "completed"}
        item["content"] = [{"type": "output_text", "text": call, "annotations": []}]
    else:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
        item |= {"name": call[0], "arguments": json.dumps(call[1])}
    base: Table = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": model}
    base |= {"status": "in_progress", "output": []}
    response = {**base, "status": "completed", "output": [item], "usage": usage}
    return response, [
        {"type": "response.created", "response": base},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]


def _gemini(call: Call, model: str, number: int) -> tuple[Table, list[Table]]:
    part = {"text": call} if isinstance(call, str) else {"functionCall": {"name": call[0], "args": call[1]}}
    usage = {"promptTokenCount": USED["input"], "candidatesTokenCount": USED["output"], "totalTokenCount": sum(USED.values())}
    response = {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage, "modelVersion": "check-model",
    }  # fmt: skip
    return response, [response]


WIRES: dict[str, Callable[[Call, str, int], tuple[Table, list[Table]]]] = {
    "/messages": _anthropic, "/chat/completions": _chat, "/responses": _responses, "enerateContent": _gemini,
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ModelServer

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length") or 0)).decode("utf-8", "replace"))

    def do_GET(self) -> None:
        self._answer("")

    do_HEAD = do_GET

    def _answer(self, body: str) -> None:
        status, kind, text = self.owner.answer(self.path, body)
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
