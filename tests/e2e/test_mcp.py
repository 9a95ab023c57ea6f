"""`autoresearch mcp` as its clients meet it: the SDK's own client over stdio, and the bare wire."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import studies
from waiting import wait_for

from autoresearch import constants
from autoresearch.errors import UsageError
from autoresearch.study import ledger
from autoresearch.study.interrupts import Interrupts
from autoresearch.study.ledger import Ledger
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
                assert answer.structured_content is None and len(answer.content) == 1  # sent once
                return answer.content[0].text if answer.is_error else json.loads(answer.content[0].text)

            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"try", "results", "show", "best", "status"}
            for tool in tools.values():
                assert all(one["description"] for one in tool.input_schema["properties"].values()), tool.name
                assert tool.annotations.destructive_hint is tool.annotations.open_world_hint is False  # Codex asks for both
                assert tool.annotations.read_only_hint == tool.annotations.idempotent_hint == (tool.name != "try")
            assert (await ask("status"))["best_val_bpb"] is None
            assert "no baseline yet; the tool `try` trains it" in await ask("best")
            kept = await ask("try", description="smaller", train_py=good)
            assert (kept["verdict"], kept["description"], kept["ref"]) == ("keep", "smaller", "refs/autoresearch/t/1")
            assert heard and heard[0][1] is not None
            discarded = await ask("try", description="deeper", train_py=worse)
            assert discarded["verdict"] == "discard" and train_py.read_text(encoding="utf-8") == good
            assert "tried before, as experiment 2 (discard): deeper" in await ask("try", description="again", train_py=worse)
            slip = await ask("try", description="a slip", train_py="x = (")
            assert "does not parse" in slip and slip.endswith("; edit train.py, then the tool `try`")
            assert "broken from the start" in await ask("try", description="breaks", train_py=studies.BROKEN)
            assert train_py.read_text(encoding="utf-8") == good  # what was refused does not stay there

            mine = constants.write(good, {"DEPTH": 7})
            train_py.write_text(mine, encoding="utf-8")
            untried = await ask("try", description="over it", train_py=constants.write(good, {"DEPTH": 6}))
            assert "never tried" in untried and untried.endswith("checkout HEAD train.py` (the study's owner has to type that)")
            assert train_py.read_text(encoding="utf-8") == mine
            assert (await ask("try", description="by hand"))["number"] == 3

            assert "there are 0 to 3; the tool `results` lists them" in await ask("show", number=4)
            for tool, arguments, words in WRONG:
                told = await ask(tool, **arguments)
                assert isinstance(told, str) and words in told and "\n" not in told and "pydantic" not in told
            report = (await client.read_resource("autoresearch://report")).contents[0].text
            assert "smaller" in report and f"# Study {study.tag}" in report
            picture = (await client.read_resource("autoresearch://progress.png")).contents[0]
            assert base64.b64decode(picture.blob).startswith(b"\x89PNG")
            prompt = (await client.get_prompt("loop", {"experiments": "3"})).messages[0].content.text
            assert "Stop after 3 experiments" in prompt
            pages = [await ask("results", last=2), await ask("results", last=2, page=1), await ask("results", since=3)]
            text, line = "", 1
            while line:
                part = await ask("best", from_line=line, characters=500)
                text, line = text + part["train_py"], part["next_line"]
            whole = {name: cli(study, name) for name in ("best", "status")} | {"show": cli(study, "show", "2")}
            lines = {"lines": text.count("\n"), "next_line": None}
            assert part | {"train_py": text} == {name: value for name, value in whole["best"].items() if name != "output"} | lines
            return pages, whole, await ask("show", number=2), await ask("status"), await ask("results", fields=["runs"])

    pages, whole, shown, status, runs = anyio.run(talk)
    numbers = [[one["number"] for one in page["experiments"]] for page in pages]
    assert numbers == [[2, 3], [0, 1], [3]] and pages[0]["pages"] == 2 and pages[0]["found"] == 4
    assert runs["experiments"] == [{"runs": one["runs"]} for one in cli(study, "results")]
    assert shown.items() <= whole["show"].items() and "DEPTH" in shown["diff"]
    assert status == whole["status"]
    studies.check_in_line(study)


# Each from what a model has really sent, or pydantic's own words once came back for.
WRONG = (
    ("results", {"last": "many"}, "last must be how many experiments"), ("results", {"lst": 3}, "did you mean last?"),
    ("results", {"fields": ["loss"]}, "a list of the fields wanted"), ("show", {}, "the key 'number' is missing"),
    ("show", {"number": -1}, "as `results` has it"), ("best", {"from_line": 10**5}, "give another from_line"),
    ("try", {"train_py": "x = 1"}, "the key 'description' is missing"), ("try", {"description": 5}, "one line of 1 to 1,000"),
    ("no_such_tool", {}, "there are try, status"), ("try", {"description": "a bell \a"}, "U+0007 at 7"),
    ("try", {"description": "x", "train_py": "x = 1\0"}, "train_py holds the character U+0000 at 5"),
)  # fmt: skip


def better(study) -> str:
    return constants.write(studies.text_of(study), studies.BETTER)


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


SIGNALS = [pytest.param(name, marks=pytest.mark.thorough) for name in ("SIGTERM", "SIGINT")]


@pytest.mark.parametrize("leave", ["closes stdin", *SIGNALS])
def test_only_protocol_on_stdout_and_a_client_that_leaves_ends_the_training(tmp_path, corpus, leave):
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
        if leave == "closes stdin":
            assert wire.leave() == 0
        else:  # as Claude Code ends a server
            wire.process.send_signal(number := getattr(signal, leave))
            assert wire.process.wait(60) == 128 + number
    state = studies.state_of(load(study.folder))
    assert state.lost == 1 and state.pending.number == 0 and state.last_stop is not None


def test_a_call_that_is_cancelled_ends_its_training_and_goes_on_when_it_is_made_again(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=3)
    studies.play(study, replace(setup, train_seconds=0.1), [], experiments=0)

    def await_begin(count: int) -> None:
        """Of experiment 1, in the ledger: a beat may miss a short training."""
        wait_for(lambda: sum(one["event"] == "begin" and one["n"] == 1 for one in ledger.read(study.events)) == count)

    with Wire(study) as wire:
        wire.call(2, "try", description="patience", train_py=better(study))
        await_begin(1)
        wire.send(method="notifications/cancelled", params={"requestId": 2, "reason": "enough"})
        edit = studies.text_of(study)
        wire.call(3, "try", description="the next, for which the first is finished", train_py=constants.write(edit, studies.WORSE))
        await_begin(2)
        wire.send(method="notifications/cancelled", params={"requestId": 3, "reason": "enough"})
        wire.call(4, "try", description="patience", train_py=edit)
        assert json.loads(wire.wait(lambda one: one.get("id") == 4)["result"]["content"][0]["text"])["verdict"] == "keep"
        assert not [one for one in wire.messages if one.get("id") in (2, 3)]
        assert wire.leave() == 0
    state = studies.state_of(study)
    assert state.lost == 2 and len(state.experiments) == 2
    studies.check_in_line(study)


def test_a_step_begins_when_the_processes_of_a_cancelled_one_are_gone(tmp_path, corpus):
    from autoresearch.commands import mcp_server

    study, _ = studies.make(tmp_path / "study", corpus)
    trying, cancelled = mcp_server.Trying(study, "none", True, None), Interrupts()
    cancelled.end("the client")
    trying._steps.add(cancelled)  # whose end takes its time

    def step() -> None:
        with pytest.raises(UsageError, match="does not differ"):
            trying.step(Interrupts(), "no edit", None)

    with ThreadPoolExecutor() as pool:
        again = pool.submit(step)
        time.sleep(0.2)
        assert trying.words == "", "it has not begun"
        with trying._changed:
            trying._steps.clear()
            trying._changed.notify_all()
        again.result(60)
    assert trying.words.startswith("looking at the machine")


def test_every_line_is_answered_also_one_that_is_no_message(tmp_path, corpus):
    """Half a surrogate pair in a request was dropped, and whoever had sent it waited for ever."""
    study, _ = studies.make(tmp_path / "study", corpus)
    with Wire(study) as wire:
        for number, text in enumerate(("\ud800", "in \udfff the middle"), 2):
            wire.call(number, "try", description=text)
            refused = wire.wait(lambda one, number=number: one.get("id") == number)["error"]
            assert "half a surrogate pair" in refused["message"] and "\n" not in refused["message"]
        wire.send(id=7, method=12)
        assert "no message" in wire.wait(lambda one: one.get("id") == 7)["error"]["message"]
        wire.process.stdin.write(b"no JSON\n[1]\n" + b"[" * 100_000 + b"\n")
        wire.send(id=8, method="ping")
        assert wire.wait(lambda one: one.get("id") == 8)["result"] is not None
        assert len([one for one in wire.messages if "error" in one and one["id"] is None]) == 3
        assert wire.leave() == 0


def test_twenty_experiments_fit_into_what_the_narrowest_client_passes_on(tmp_path, corpus):
    from autoresearch.commands import mcp_tools

    study, setup = studies.make(tmp_path / "study", corpus)
    studies.play(study, setup, [], experiments=0)
    commit, written = studies.state_of(study).best.commit, Ledger(study.events)
    words = {"description": "d" * 1000, "reasoning": "r" * 8000, "agent": "a", "cost_usd": 0.0}
    for n in range(1, 21):
        written.append("start", n=n, commit=commit, parent=commit, blob=commit, key=f"key{n}", **words)
        written.append("verdict", n=n, commit=commit, verdict="crash", state="crash", reason="w" * 4000, val_bpb=None, scores=[])
    found = mcp_tools.results(study, mcp_tools.Page())
    assert len(found["experiments"]) == 20 and len(mcp_tools.as_text(found)) < 12_020  # of Codex CLI 0.171


def test_without_the_sdk_it_says_how_to_get_it():
    text = "import sys; sys.modules['mcp'] = None; sys.argv[1:] = ['mcp']; from autoresearch.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", text], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == 'error: `autoresearch mcp` needs the MCP SDK; pip install "mcp>=2"\n'


def test_without_a_study_it_ends_with_one_line(tmp_path):
    ended = subprocess.run([*CLI, "mcp"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("error: no study in") and ended.stdout == ""
