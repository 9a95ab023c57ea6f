"""`autoresearch mcp` as its clients meet it: the SDK's own client over stdio, and the bare wire."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import studies

from autoresearch import constants
from autoresearch.study.workspace import load

mcp = pytest.importorskip("mcp", reason='needs the extra: pip install "mcp>=2"')
anyio = pytest.importorskip("anyio")

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, "-m", "autoresearch.cli"]


def environment() -> dict[str, str]:
    return {"AUTORESEARCH_CACHE_DIR": os.environ["AUTORESEARCH_CACHE_DIR"], "PYTHONPATH": str(ROOT)}


def cli(study, *arguments: str):
    ended = subprocess.run(
        [*CLI, *arguments, "--workspace", str(study.folder), "--json"], env=os.environ | environment(),
        capture_output=True, check=True,
    )  # fmt: skip
    return json.loads(ended.stdout)


def test_a_coding_agent_drives_the_study(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus)
    train_py = study.folder / "train.py"
    good = better(study)
    worse = constants.write(good, studies.WORSE)
    heard = []

    async def hear(progress, total, message):
        heard.append((progress, message))

    async def talk():
        arguments = [*CLI[1:], "mcp", "--workspace", str(study.folder)]
        server = mcp.StdioServerParameters(command=CLI[0], args=arguments, env=environment())
        async with mcp.Client(server) as client:

            async def ask(name: str, **arguments):
                answer = await client.call_tool(name, arguments, progress_callback=hear)
                text = answer.content[0].text if answer.content else ""
                return text if answer.is_error else answer.structured_content

            assert {tool.name for tool in (await client.list_tools()).tools} == {"try", "results", "show", "best", "status"}
            assert (await ask("status"))["best_val_bpb"] is None
            assert "no baseline yet; `autoresearch run` trains it" in await ask("best")
            kept = await ask("try", description="smaller", train_py=good)
            assert (kept["verdict"], kept["description"], kept["ref"]) == ("keep", "smaller", "refs/autoresearch/t/1")
            assert heard and heard[0][1] is not None
            discarded = await ask("try", description="deeper", train_py=worse)
            assert discarded["verdict"] == "discard" and train_py.read_text(encoding="utf-8") == good
            assert "tried before, as experiment 2 (discard): deeper" in await ask("try", description="again", train_py=worse)
            assert "does not parse" in await ask("try", description="a slip", train_py="x = (")
            assert "broken from the start" in await ask("try", description="breaks", train_py=studies.BROKEN)
            assert train_py.read_text(encoding="utf-8") == good  # what was refused does not stay there

            mine = constants.write(good, {"DEPTH": 7})
            train_py.write_text(mine, encoding="utf-8")
            assert "never tried" in await ask("try", description="over it", train_py=constants.write(good, {"DEPTH": 6}))
            assert train_py.read_text(encoding="utf-8") == mine
            assert (await ask("try", description="by hand"))["number"] == 3

            assert "there are 0 to 3" in await ask("show", number=4)
            return [await ask("results", last=0), await ask("show", number=2), await ask("best"), await ask("status")]

    results, shown, best, status = anyio.run(talk)
    assert results["result"] == cli(study, "results")
    assert shown == cli(study, "show", "2")
    assert best | {"output": None} == cli(study, "best")
    assert status == cli(study, "status")
    studies.check_in_line(study)


def better(study) -> str:
    return constants.write((study.folder / "train.py").read_text(encoding="utf-8"), studies.BETTER)


class Wire:
    """A client that speaks the protocol's lines itself, so that it sees every byte of stdout."""

    def __init__(self, study):
        self.process = subprocess.Popen(
            [*CLI, "mcp", "--workspace", str(study.folder)], env=os.environ | environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.messages, self._more = [], threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}}
        self.send(id=1, method="initialize", params=about)
        self.wait(lambda one: one.get("id") == 1)
        self.send(method="notifications/initialized")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()  # after a failure; else it has ended
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()

    def leave(self) -> int:
        """Go away, as a client does that ends; the server's exit status."""
        self.process.stdin.close()
        return self.process.wait(60)

    def send(self, **message) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, number: int, tool: str, **arguments) -> None:
        self.send(id=number, method="tools/call", params={"name": tool, "arguments": arguments, "_meta": {"progressToken": number}})

    def wait(self, fits, count: int = 1) -> dict:
        with self._more:
            assert self._more.wait_for(lambda: sum(map(fits, self.messages)) >= count, timeout=60), self.messages
            return [one for one in self.messages if fits(one)][-1]

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                self.messages.append(json.loads(line))  # a line that is none ends this thread, and pytest tells it
                self._more.notify_all()


def test_only_protocol_on_stdout_and_a_client_that_leaves_ends_the_training(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=3600)

    def in_training(one: dict) -> bool:
        return "training" in one.get("params", {}).get("message", "")

    with Wire(study) as wire:
        wire.call(2, "try", description="too long to wait for", train_py=better(study))
        last = wire.wait(in_training, count=2)["params"]  # two beats: it goes on telling
        assert last["message"].startswith("experiment 0, run 1: training") and last["progress"] > 5
        wire.call(3, "try", description="a second one")
        busy = wire.wait(lambda one: one.get("id") == 3)["result"]
        assert busy["isError"] and "is at work in process" in busy["content"][0]["text"]
        assert all(one["jsonrpc"] == "2.0" for one in wire.messages)
        assert wire.leave() == 0
    state = studies.state_of(load(study.folder))
    assert state.lost == 1 and state.pending.number == 0 and state.last_stop is not None


def test_a_call_that_is_cancelled_goes_on_and_its_verdict_is_there_later(tmp_path, corpus):
    study, _ = studies.make(tmp_path / "study", corpus, train_seconds=3)
    with Wire(study) as wire:
        wire.call(2, "try", description="patience", train_py=better(study))
        wire.wait(lambda one: one.get("method") == "notifications/progress", count=2)  # at the first it may not have begun yet
        wire.send(method="notifications/cancelled", params={"requestId": 2, "reason": "timed out"})
        for number in range(3, 100):
            wire.call(number, "results")
            answer = wire.wait(lambda one, number=number: one.get("id") == number)["result"]["structuredContent"]["result"]
            if len(answer) == 2 and answer[1]["verdict"]:
                break
            threading.Event().wait(0.5)
        assert answer[1]["verdict"] == "keep"
        assert wire.leave() == 0
    studies.check_in_line(study)


def test_without_the_sdk_it_says_how_to_get_it():
    text = "import sys; sys.modules['mcp'] = None; sys.argv[1:] = ['mcp']; from autoresearch.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == 'error: `autoresearch mcp` needs the MCP SDK; pip install "mcp>=2"\n'


def test_without_a_study_it_ends_with_one_line(tmp_path):
    ended = subprocess.run([*CLI, "mcp"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("error: no study in") and ended.stdout == ""
