"""OpenAI's two protocols, chat completions and responses: a request of ours in their form, and what a stream comes to. Pure.

A request of ours is one of Anthropic's Messages (llm/llm.py). An answer comes back as blocks with its names: text, and tool_use
with id, name and input. What a model has to get back as it was (its reasoning, by the responses protocol) is kept beside as `raw`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from autoresearch.agents.llm import prices

# For a model, or a server, without tools: the same calls, written out.
WITHOUT_TOOLS = """

You can call no tool here. Answer with one ```json block: a list of calls in their order, each {"name": ..., "arguments": {...}},
submit as the last. The tools and what they take:
"""


@dataclass(frozen=True)
class Block:
    """A part of an answer, with the names of Anthropic's blocks."""

    type: str  # text, tool_use, raw
    text: str = ""
    id: str = ""
    name: str = ""
    input: object = None
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass
class Answer:
    """What a stream came to."""

    blocks: list[Block] = field(default_factory=list)
    reason: str | None = None  # stop, length, refusal ...; None: the stream ended before its end
    input_tokens: int | None = None  # cached ones too
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None  # where the server says it, as OpenRouter does
    error: str | None = None  # that came in the middle of the stream


def tools(request: dict[str, Any], nested: bool) -> list[dict[str, Any]]:
    """nested: as chat completions have them."""
    schemas = []
    for tool in request["tools"]:
        function = {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}
        schemas.append({"type": "function", "function": function} if nested else {"type": "function", **function})
    return schemas


def texts(content: list[Any], kind: str) -> str:
    """What the blocks of that type say."""
    return "\n\n".join(block["text"] for block in content if block["type"] == kind)


class Chat:
    """POST /chat/completions, which every such server has."""

    def __init__(self, has_tools: bool, size_name: str):
        """size_name: max_tokens, or max_completion_tokens at OpenAI itself."""
        self.has_tools, self._size_name = has_tools, size_name

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """What chat.completions.create takes besides the model."""
        system = texts(request["system"], "text")
        if not self.has_tools:
            system += WITHOUT_TOOLS + "\n".join(json.dumps(tool["function"]) for tool in tools(request, nested=True))
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for message in request["messages"]:
            messages += self._assistant(message["content"]) if message["role"] == "assistant" else self._user(message["content"])
        body = {"messages": messages, self._size_name: request["max_tokens"], "stream_options": {"include_usage": True}}
        return body | ({"tools": tools(request, nested=True)} if self.has_tools else {})

    def _user(self, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
        results = [block for block in content if block["type"] == "tool_result"]
        text = texts(content, "text")
        if not self.has_tools:
            parts = [f"Result of {block['tool_use_id']}: {block['content']}" for block in results]
            return [{"role": "user", "content": "\n\n".join(filter(None, (*parts, text)))}]
        messages = [{"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]} for block in results]
        return messages + ([{"role": "user", "content": text}] if text else [])

    def _assistant(self, blocks: list[Block]) -> list[dict[str, Any]]:
        text = "\n\n".join(block.text for block in blocks if block.type == "text")
        calls = [
            {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}
            for block in blocks
            if block.type == "tool_use" and self.has_tools
        ]
        return [{"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})]

    def take(self, chunks: Any) -> Answer:
        """chunks: the SDK's ChatCompletionChunk, whose fields a server may leave out or fill with null."""
        answer, text, calls = Answer(), "", dict[int, dict[str, str]]()
        for chunk in chunks:
            _count(answer, getattr(chunk, "usage", None), "prompt_tokens", "completion_tokens", "prompt_tokens_details")
            extra = getattr(chunk, "model_extra", None) or {}
            answer.error = answer.error or _error(extra.get("error"))
            for choice in (getattr(chunk, "choices", None) or [])[:1]:
                answer.reason = choice.finish_reason or answer.reason
                delta = choice.delta
                text += getattr(delta, "content", None) or ""
                if getattr(delta, "refusal", None):
                    answer.reason = "refusal"
                for number, call in enumerate(getattr(delta, "tool_calls", None) or []):
                    index = call.index if call.index is not None else number
                    known = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
                    known["id"] = call.id or known["id"]
                    if call.function is not None:
                        known["name"] += call.function.name or ""
                        known["arguments"] += call.function.arguments or ""
        if text.strip():
            answer.blocks.append(Block("text", text))
        for index, call in sorted(calls.items()):
            answer.blocks.append(_call(call["id"] or f"call-{index}", call["name"], call["arguments"]))
        if not calls and not self.has_tools:
            answer.blocks += written_calls(text)
        return answer


class Responses:
    """POST /responses, OpenAI's own: its models think better by it, since their reasoning is handed back."""

    has_tools = True

    def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """What responses.create takes besides the model."""
        items: list[dict[str, Any]] = []
        for message in request["messages"]:
            if message["role"] == "assistant":
                items += [block.raw for block in message["content"] if block.type == "raw"]
                continue
            for block in message["content"]:
                if block["type"] == "tool_result":
                    items.append({"type": "function_call_output", "call_id": block["tool_use_id"], "output": block["content"]})
            if text := texts(message["content"], "text"):
                items.append({"role": "user", "content": text})
        return {
            "instructions": texts(request["system"], "text"), "input": items, "tools": tools(request, nested=False), "store": False,
            "max_output_tokens": request["max_tokens"], "include": ["reasoning.encrypted_content"],
        }  # fmt: skip

    def take(self, stream: Any) -> Answer:
        """stream: the SDK's events."""
        answer = Answer()
        for event in stream:
            if event.type == "error":
                answer.error = _error(event)
            if event.type not in ("response.completed", "response.incomplete", "response.failed"):
                continue
            response = event.response
            answer.error = answer.error or _error(response.error)
            why = getattr(response.incomplete_details, "reason", None)
            answer.reason = {"max_output_tokens": "length", "content_filter": "refusal"}.get(why or "", "stop")
            _count(answer, response.usage, "input_tokens", "output_tokens", "input_tokens_details")
            for item in response.output or []:
                answer.blocks.append(Block("raw", raw=item.to_dict(mode="json", exclude_unset=True)))
                if item.type == "function_call":
                    answer.blocks.append(_call(item.call_id, item.name, item.arguments))
                elif item.type == "message":
                    parts = [part for part in item.content or [] if part.type == "output_text" and part.text.strip()]
                    answer.blocks += [Block("text", part.text) for part in parts]
                    if any(part.type == "refusal" for part in item.content or []):
                        answer.reason = "refusal"
        return answer


def written_calls(text: str) -> list[Block]:
    """The calls of a ```json block, for who can't call."""
    blocks: list[Block] = []
    for block in re.findall(r"```json\s*\n(.*?)\n```", text, re.DOTALL):
        try:
            calls = json.loads(block)
        except (ValueError, RecursionError):
            continue
        for call in calls if isinstance(calls, list) else [calls]:
            if isinstance(call, dict) and isinstance(call.get("name"), str):
                blocks.append(Block("tool_use", id=f"call {len(blocks) + 1}", name=call["name"], input=call.get("arguments")))
    return blocks


def _call(key: str, name: str, arguments: str) -> Block:
    """Arguments that are no JSON object stay text, which edits.py refuses with the reason."""
    try:
        value: object = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = arguments
    return Block("tool_use", id=key, name=name, input=value)


def _count(answer: Answer, usage: object, input_name: str, output_name: str, details: str) -> None:
    if usage is None:
        return
    answer.input_tokens, answer.output_tokens = _number(usage, input_name), _number(usage, output_name)
    answer.cached_tokens = _number(getattr(usage, details, None), "cached_tokens")
    cost = (getattr(usage, "model_extra", None) or {}).get("cost")
    answer.cost_usd = float(cost) if isinstance(cost, int | float) and 0 <= cost <= prices.MOST_USD else None


def _number(table: object, name: str) -> int | None:
    return prices.count(getattr(table, name, None))


def _error(error: object) -> str | None:
    if not error:
        return None
    message = error.get("message") if isinstance(error, dict) else getattr(error, "message", None)
    return str(message or error)
