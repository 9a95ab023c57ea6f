"""The fence of a coding agent, its home folder, and what is read of its cost: small real programs in real fences."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import seatbelt
from click.testing import CliRunner
from waiting import wait_for

from autoresearch import agents
from autoresearch.agents.base import Exhausted, Unavailable, View
from autoresearch.agents.command import command, recipes
from autoresearch.agents.command.usage import Meter
from autoresearch.checks import fence_trial
from autoresearch.cli import cli
from autoresearch.errors import UsageError
from autoresearch.sandbox import bubblewrap, fence, fence_macos

REACH = fence.reach()[0]
LEVELS = [pytest.param(level, marks=pytest.mark.skipif(level > REACH, reason="not reached here")) for level in (3, 2)]
linux = pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
EDIT = "open('train.py', 'w').write('DEPTH = 5\\n')\n"
ATTEMPTS = (
    "ssh_key", "ledger", "write_ledger", "write_git", "write_bashrc", "write_kernel_setting", "mount", "keys", "unix_socket",
    "abstract_socket", "environment", "ptrace", "signal_harness", "daemon", "limits", "priority", "scheduler", "semaphores",
    "user_namespace", "clone3", "chmod", "utime",
)  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """own(text, toml) -> nothing: a recipe `mine` of the user's, of a program with that text; the user has another home folder."""
    for name in ("home", "config/agents", "cache"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUTORESEARCH_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "client.py"

    def write(text: str, toml: str = "") -> None:
        program.write_text(text, encoding="utf-8")
        head = f"""title = "Mine"\nexecutable = "mine"\ncommand = '"{sys.executable}" "{program}" {{task_file}}'\n"""
        (tmp_path / "config" / "agents" / "mine.toml").write_text(head + toml, encoding="utf-8")

    return write


def view(folder: Path, **fields) -> View:
    return View("Lower.\n", "DEPTH = 4\n", 1.0, (), folder=folder, **fields)


def said(folder: Path) -> str:
    return (folder / "command" / "last-output.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@linux
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_gets_out(level):
    found = fence_trial.run(level, ATTEMPTS)
    assert [one for one in found if one.is_open is not False] == []
    assert all(one.promised for one in found)


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_a_program_that_sets_modes_and_times_goes_on(level, own, tmp_path):
    own("import shutil\nshutil.copy2('train.py', 'copy.py')\n" + EDIT)
    one = command.make("mine")
    one.level = level
    assert one.propose(view(tmp_path)).train_py == "DEPTH = 5\n"


@pytest.mark.slow
@linux
def test_without_a_fence_they_get_out():
    names = ("ssh_key", "ledger", "unix_socket", "environment", "signal_harness")
    assert all(one.is_open and not one.promised for one in fence_trial.run(0, names))
    (daemon,) = fence_trial.run(0, ("daemon",))
    assert daemon.is_open is False  # the keeper ends it there too


@linux
@pytest.mark.parametrize("level", [*LEVELS, 0])
def test_it_ends_with_a_harness_that_is_killed(level, tmp_path):
    mark = f"left-behind-{os.getpid()}-{level}"
    text = (
        "import pathlib, sys\nfrom autoresearch.agents.base import View\nfrom autoresearch.agents.command.command import Command\n"
    )
    text += f"agent = Command([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}], level={level})\n"
    text += f"agent.propose(View('', 'x = 1', None, (), folder=pathlib.Path({str(tmp_path)!r})))\n"
    harness = subprocess.Popen([sys.executable, "-c", text])
    try:
        wait_for(lambda: processes_with(mark))
    finally:
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    assert wait_for(lambda: not processes_with(mark))


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_processes_that_start_one_another_without_end_end_with_it_and_fill_no_list(level, own, tmp_path):
    """Each starts the next and ends: a look at the list of processes finds only who is gone already."""
    chain = "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        end = time.time() + 30\n"
    chain += "        while time.time() < end:\n            if os.fork():\n                os._exit(0)\n        os._exit(0)\n"
    own(chain + "time.sleep(1)\nprint(sum(name.isdecimal() for name in os.listdir('/proc')))\n" + EDIT)
    made = command.make("mine")
    made.level = level
    assert made.propose(view(tmp_path)).train_py == "DEPTH = 5\n"
    assert int(said(tmp_path).split()[0]) < 1000
    assert not processes_with("client.py")


@linux
def test_a_keeper_that_can_open_nothing_more_stays(own, tmp_path):
    mark = f"left-behind-{os.getpid()}-keeper"
    text = "import os, resource, subprocess, sys\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\n"
    own(text + f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}], start_new_session=True)\n")
    with pytest.raises(Unavailable, match="longer than 3 s"):
        command.make("mine", seconds=3, fenced=False).propose(view(tmp_path))  # a fence does not let it
    assert not processes_with(mark)


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_it_has_copies_of_what_its_recipe_names_and_nothing_else_of_the_home_folder(level, own, tmp_path):
    home = tmp_path / "home"
    for name in (".mine/sign-in", ".mine/settings", ".netrc"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(f"the user's {name}\n", encoding="utf-8")
    look = "import os, pathlib\nhome = pathlib.Path.home()\n"
    look += "print(sorted(str(p.relative_to(home)) for p in home.rglob('*')), (home / '.mine/sign-in').read_text())\n"
    look += f"for path in ({str(home / '.netrc')!r}, {str(home / '.mine/settings')!r}):\n"
    look += "    try:\n        print(open(path).read())\n    except OSError:\n        print('shut')\n"
    own(look + "(home / '.mine/sign-in').write_text('renewed')\n" + EDIT,
        'config = ["~/.mine/sign-in", "~/.mine/settings", "~/.mine/missing"]\nkept = ["~/.mine/sign-in"]\n')  # fmt: skip
    made = command.make("mine")
    made.level = level
    made.propose(view(tmp_path))
    assert said(tmp_path).splitlines() == [
        "['.mine', '.mine/settings', '.mine/sign-in'] the user's .mine/sign-in", "", "shut", "shut",
    ]  # fmt: skip
    assert (home / ".mine/sign-in").read_text(encoding="utf-8") == "the user's .mine/sign-in\n"
    made.propose(view(tmp_path))
    assert "renewed" in said(tmp_path), "what it renewed itself is the newer one"
    os.utime(home / ".mine/sign-in", (time.time() + 10, time.time() + 10))
    made.propose(view(tmp_path))
    assert "the user's .mine/sign-in" in said(tmp_path), "the user has signed in again"


@linux
@pytest.mark.skipif(REACH < 2, reason="no fence here")
def test_a_sign_in_that_it_has_not_renewed_is_kept_nowhere(own, tmp_path):
    (tmp_path / "home" / ".mine").mkdir()
    (tmp_path / "home" / ".mine" / "key").write_text("a key", encoding="utf-8")
    own(EDIT, 'config = ["~/.mine/key"]\nkept = ["~/.mine/key"]\n')
    command.make("mine").propose(view(tmp_path))
    assert not (tmp_path / "cache" / "agents").exists()


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_it_stands_back_for_the_training_and_fills_no_disk(level, own, tmp_path, monkeypatch):
    text = "import os, resource, time\nfor path in ('/proc/self/oom_score_adj', '/dev/filled'):\n"
    text += "    try:\n        open(path, 'w').write('0')\n    except OSError:\n        pass\n"
    text += "print(open('/proc/self/oom_score_adj').read().strip(), os.nice(0), os.path.exists('/dev/filled'))\n"
    text += "tmp = os.statvfs('/tmp')\n"
    text += "print(resource.getrlimit(resource.RLIMIT_FSIZE)[1], tmp.f_blocks * tmp.f_frsize, flush=True)\n"
    own(text + "for n in range(3):\n    open(str(n), 'wb').write(bytes(1 << 20))\ntime.sleep(600)\n")
    monkeypatch.setattr(fence, "MOST_BYTES", 2 << 20)
    one = command.make("mine")
    one.level = level
    with pytest.raises(Unavailable, match="wrote more than 2 MB into its folder"):
        one.propose(view(tmp_path))
    adjusted, nice, is_filled, file_bytes, in_memory = said(tmp_path).split()
    assert is_filled == "False", "/dev is memory without a bound"
    assert (int(adjusted), int(nice), int(file_bytes)) == (1000, min(19, os.nice(0) + fence.NICE), 2 << 30)
    assert level < 3 or int(in_memory) == bubblewrap.IN_MEMORY_BYTES or "--size" not in bubblewrap._options()


@linux
@pytest.mark.skipif(REACH < 2, reason="no fence here")
def test_what_it_puts_in_a_place_of_ours_is_not_followed(own, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "train.py").write_text("ANOTHER = 1\n", encoding="utf-8")
    (other / "sign-in").write_text("another program's", encoding="utf-8")
    text = f"import os\nos.symlink({str(other)!r}, os.path.expanduser('~/.mine'))\nos.chdir('..')\n"
    text += f"os.rename('work', 'old')\nos.symlink({str(other)!r}, 'work')\n"
    own(text, 'config = ["~/.mine/sign-in"]\nkept = ["~/.mine/sign-in"]\n')
    with pytest.raises(Unavailable, match=r"ended with status 1; its last words: .*Error.*'work'"):
        command.make("mine").propose(view(tmp_path))
    assert not (tmp_path / "cache" / "agents").exists()


@linux
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("swap", ["rmtree(a); os.symlink(b, a)", "os.remove(a + '/key'); os.link(b + '/key', a + '/key')"])
def test_another_program_s_sign_in_is_not_taken_for_a_renewed_one(level, swap, own, tmp_path):
    for name in (".mine", ".other"):
        (tmp_path / "home" / name).mkdir()
        (tmp_path / "home" / name / "key").write_text(f"of {name}", encoding="utf-8")
    text = "import os\nfrom shutil import rmtree\na, b = map(os.path.expanduser, ('~/.mine', '~/.other'))\n"
    text += f"open(b + '/key', 'a').close()\nos.utime(b + '/key')\n{swap}\n"
    own(text + EDIT, 'config = ["~/.mine/key", "~/.other"]\nkept = ["~/.mine/key"]\n')
    one = command.make("mine")
    one.level = level
    one.propose(view(tmp_path))
    assert not (tmp_path / "cache" / "agents").exists()


@linux
def test_a_folder_in_the_place_of_its_own_is_not_read(own, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.py").write_text("ANOTHER = 1\n", encoding="utf-8")
    swap = f"os.chdir('..')\nos.rename('work', 'old')\nos.symlink({str(tmp_path / 'other')!r}, 'work')\n"
    own(EDIT + "import os\n" + swap)
    assert command.make("mine", fenced=False).propose(view(tmp_path)).train_py == "DEPTH = 5\n"  # a fence does not let it


def test_its_environment(own, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("MAX_THINKING_TOKENS", "9000")
    monkeypatch.setenv("DATABASE_URL", "postgres://me:secret@host/db")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:1")
    monkeypatch.setenv("MINE_HOME", "/elsewhere")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    names = "['CLAUDECODE', 'MAX_THINKING_TOKENS', 'DATABASE_URL', 'HTTPS_PROXY', 'MINE_SET', 'MINE_HOME', 'DOCKER_HOST']"
    own(f"import os\nprint([name for name in {names} if name in os.environ])\n" + EDIT,
        'variables = ["MAX_THINKING_TOKENS"]\nenvironment = {MINE_SET = "1"}\nmoved = {MINE_HOME = "~/.mine"}\n')  # fmt: skip
    command.make("mine").propose(view(tmp_path))
    outside = [] if REACH else ["MINE_HOME", "DOCKER_HOST"]  # they point at what is not there
    assert said(tmp_path).strip() == str(["MAX_THINKING_TOKENS", "HTTPS_PROXY", "MINE_SET", *outside])


def test_where_no_fence_can_be_made_a_person_has_to_say_so(own, monkeypatch):
    own(EDIT, 'own = "its own mode"\nunfenced = "python held {task_file}"\n')
    monkeypatch.setattr(fence, "reach", lambda: (0, "no Landlock"))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UsageError, match=r"no fence can be made .*no Landlock.*`--agent-fence off`"):
        command.make("mine")
    assert (command.make("mine", fenced=False).level, command.make("mine", fenced=False).arguments[1]) == (0, "held")
    monkeypatch.setattr(sys, "platform", "freebsd")  # there it is said, and goes on
    options = dict.fromkeys(("model", "max_cost", "mix", "max_tokens_per_experiment"), None)
    _, lines = agents.choose(options | {"agent": "command", "agent_command": "mine", "command_env": ()}, 1)
    assert lines[1] == f"fence 0, {fence.WORDS[0]} (no Landlock); its own mode"


def test_a_program_that_would_wait_for_a_sign_in_is_not_started(own, tmp_path, monkeypatch):
    own(EDIT, 'needs = ["MINE_KEY", "~/.mine/key"]\n')
    options = dict.fromkeys(("model", "max_cost", "mix", "max_tokens_per_experiment"), None)
    with pytest.raises(
        UsageError,
        match=r"Mine has nothing to sign in with in the fence; sign in with mine, or give it one of MINE_KEY, ~/\.mine/key",
    ):
        agents.choose(options | {"agent": "command", "agent_command": "mine", "command_env": ()}, 1)
    monkeypatch.setenv("MINE_KEY", "x")
    assert recipes.recipe("mine").can_sign_in
    monkeypatch.delenv("MINE_KEY")
    (tmp_path / "home" / ".mine").mkdir()
    (tmp_path / "home" / ".mine" / "key").touch()
    assert recipes.recipe("mine").can_sign_in


def test_a_recipe_with_a_fault_is_named(own, tmp_path):
    own(EDIT, 'colour = "red"\n')
    with pytest.raises(UsageError, match=r"recipe .*mine\.toml can't be read .*unknown key 'colour'"):
        command.make("mine")


def test_how_a_program_finds_its_own_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    package = tmp_path / ".npm/lib/node_modules/@x/client"
    package.mkdir(parents=True)
    (package / "cli.js").write_text(f"#!{os.path.realpath(sys.executable)}\n", encoding="utf-8")
    (tmp_path / ".npm/bin").mkdir()
    (tmp_path / ".npm/bin/client").symlink_to("../lib/node_modules/@x/client/cli.js")
    (tmp_path / ".local/bin").mkdir(parents=True)
    (tmp_path / ".local/bin/single").touch()
    found = recipes.folders(str(tmp_path / ".npm/bin/client"))
    assert str(tmp_path / ".npm/lib/node_modules") in found and any(
        Path(os.path.realpath(sys.executable)).is_relative_to(one) for one in found
    )
    assert recipes.folders(str(tmp_path / ".local/bin/single")) == [str(tmp_path / ".local/bin/single")]
    assert not any(tmp_path.is_relative_to(one) for one in found)


# What programs said in their own words: Claude Code 2.1.197, OpenCode 1.18.33, Codex 0.171.0, aider 0.86.2, cut to what counts
CLAUDE = (
    '{"type":"assistant","message":{"usage":{"output_tokens":1}}}',
    '{"type":"result","result":"Done.","total_cost_usd":0.04375,"usage":{"input_tokens":7000,"cache_creation_input_tokens":20,'
    '"cache_read_input_tokens":30,"output_tokens":350}}',
)
STEP = '{"type":"step_finish","part":{"cost":%s,"tokens":{"input":1000,"output":50,"cache":{"write":0,"read":4}}}}'
CODEX = '{"type":"turn.completed","usage":{"input_tokens":4000,"cached_input_tokens":1000,"output_tokens":200}}'


@pytest.mark.parametrize(
    "name, lines, told",
    [
        ("claude-code", CLAUDE, (7000, 30, 20, 350, 0.04375)),
        ("opencode", (STEP % 0.01, "noise {", STEP % 0.02), (2000, 8, 0, 100, 0.03)),
        ("opencode", (STEP % 0,), (1000, 4, 0, 50, None)),  # it knows no price
        ("codex", (CODEX,), (3000, 1000, None, 200, None)),
        ("aider", ("Tokens: 3.2k sent, 123 received. Cost: $0.01 message, $0.02 session.",), (3200, None, None, 123, 0.02)),
        ("aider", ("Tokens: 1.0k sent, 50 received.",), (1000, None, None, 50, None)),
        ("claude-code", ('{"type":"result","total_cost_usd":2}', '{"type":"result","total_cost_usd":0.01}'), (None,) * 4 + (2.0,)),
        ("claude-code", ('{"type":"result","total_cost_usd":0}',), (None,) * 5),
        ("claude-code", ('{"type":"result","total_cost_usd":9e11}',), (None,) * 5),  # the ledger takes no such number
        ("opencode", (STEP % 9e5, STEP % 9e5), (2000, 8, 0, 100, None)),
        ("claude-code", ('{"type":"result","total_cost_usd":-1,"usage":{"output_tokens":"many"}}', "[1]"), (None,) * 5),
    ],
)
def test_what_it_used_is_read_from_its_output(name, lines, told):
    meter = Meter(recipes.recipe(name).usage)
    for line in lines:
        meter.feed(line.encode() + b"\n")
    keys = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "cost_usd")
    assert tuple(meter.told().get(key) for key in keys) == told


@pytest.mark.parametrize(
    "name, line",
    [
        ("claude-code", '{"type":"result","total_cost_usd":"%sx"}' % ("1" * 300_000)),
        ("aider", "Tokens: 1 sent" * 3000 + "1" * 300_000),
    ],
)
def test_no_line_takes_long_to_read(name, line, tmp_path):
    (tmp_path / "line").write_text(line, encoding="utf-8")
    text = "import sys\nfrom autoresearch.agents.command import recipes, usage\n"
    text += "meter = usage.Meter(recipes.recipe(sys.argv[1]).usage)\nmeter.feed(open(sys.argv[2], 'rb').read())\n"
    text += "print(meter.told())\n"
    said = subprocess.check_output([sys.executable, "-c", text, name, str(tmp_path / "line")], text=True, timeout=30)
    assert said == "{}\n", "within the limit: it took minutes"


def test_its_limits_of_money_and_tokens(own, tmp_path):
    usage = 'budget = ["--max", "{usd}"]\n[usage]\nwhen = {type = "end"}\ncost_usd = "usd"\noutput_tokens = "tokens"\n'
    own('import sys\nprint(sys.argv[2:])\nprint(\'{"type":"end","usd":0.5,"tokens":10}\')\n' + EDIT, usage)
    asks = []
    one = command.make("mine", max_cost_usd=2.0)
    assert one.propose(view(tmp_path, spent_usd=1.25, on_ask=asks.append)).cost_usd == 0.5
    assert "['--max', '0.7500']" in said(tmp_path) and (asks[0].cost_usd, asks[0].output_tokens) == (0.5, 10)
    with pytest.raises(Exhausted, match=r"2\.00 USD are spent, and the limit is 2"):
        one.propose(view(tmp_path, spent_usd=2.0))
    own('import time\nprint(\'{"type":"end","usd":0.5,"tokens":11}\', flush=True)\ntime.sleep(60)\n', usage)
    with pytest.raises(Unavailable, match="more than the 10 tokens"):
        command.make("mine", max_tokens=10).propose(view(tmp_path, on_ask=asks.append))
    assert asks[-1].cost_usd == 0.5, "what it used counts all the same"


def test_a_program_that_does_not_tell_its_cost_is_asked_so_often(own, tmp_path):
    own(EDIT)
    options = dict.fromkeys(("model", "max_cost", "mix", "max_tokens_per_experiment"), None)
    options |= {"agent": "command", "agent_command": "mine", "command_env": ()}
    both, lines = agents.choose(options, 1)
    assert both.slow.max_asks == agents.NIGHT_ASKS and "--max-cost does not hold; of proposals at most 60" in lines[-1]
    assert agents.choose(options | {"max_cost": 5.0}, 1)[0].slow.max_asks == agents.NIGHT_ASKS
    assert agents.choose(options | {"max_cost": math.inf}, 1)[0].slow.max_asks is None
    both.slow.max_asks = 1
    assert both.slow.propose(view(tmp_path)).cost_usd is None
    with pytest.raises(Exhausted, match="asked 1 times without telling what that costs"):
        both.slow.propose(view(tmp_path))
    with pytest.raises(UsageError, match="how this command is told its model is not known"):
        agents.choose(options | {"model": "large"}, 1)


CLIENT = """
import json, os, sys, urllib.request
def ask(messages):
    tool = {"name": "write", "parameters": {"properties": {"path": {}, "content": {}}, "required": ["path", "content"]}}
    body = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": tool}]}
    request = urllib.request.Request(os.environ["MINE_URL"] + "/chat/completions", json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]
if "--version" in sys.argv:
    sys.exit(print("mine 1.0"))
messages = [{"role": "user", "content": sys.argv[1]}]
while calls := (message := ask(messages)).get("tool_calls"):
    given = json.loads(calls[0]["function"]["arguments"])
    try:
        open(given["path"], "w").write(given["content"])
    except OSError as error:
        print(error)
    messages += [message, {"role": "tool", "tool_call_id": calls[0]["id"], "content": "ok"}]
"""


@linux
@pytest.mark.skipif(REACH < 2, reason="no fence here")
def test_check_tries_it_against_a_server_of_its_own(own):
    own(CLIENT, '[wire]\nprotocol = "openai-chat"\nvariables = {MINE_URL = "{url}/v1"}\n')
    ended = CliRunner().invoke(cli, ["agents", "check", "mine", "--json"])
    found = json.loads(ended.output)
    assert ended.exit_code == 0 and found["ok"] and found["says_version"] == "mine 1.0"
    assert (found["exchange"]["requests"], found["exchange"]["tools"], found["exchange"]["wrote_outside"]) == (3, ["write"], False)
    own("import sys; sys.exit(3)")
    ended = CliRunner().invoke(cli, ["agents", "check", "mine"])
    assert (
        ended.exit_code == 1
        and "\nversion    --version ended with status 3 and said nothing; its recipe has not been tried\n" in ended.output
    )
    assert "\nvariables  it gets no secret of yours\n" in ended.output


def test_agents_are_listed_with_what_is_missing(own, monkeypatch, tmp_path):
    own(EDIT)
    monkeypatch.setenv("PATH", str(tmp_path))
    output = CliRunner().invoke(cli, ["agents"]).output
    assert "not found: no codex on PATH; to do: npm install -g @openai/codex" in output and "Mine (only by name)" in output


def test_the_profile_for_macos(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "client").touch()
    cell = fence.cell(1, tmp_path, [tmp_path / "client"])
    rules = seatbelt.rules(fence_macos.profile(cell))

    def allowed(operation: str, *subjects: str) -> list[str]:
        return [one for one in subjects if seatbelt.allows(rules, operation, one, [])]

    own, client, private = f"{cell.work}/train.py", str(tmp_path / "client"), "/Users/me/.ssh/id"
    assert allowed("file-write-data", own, "/dev/null", client, "/usr/lib/x", private) == [own, "/dev/null"]
    assert allowed("file-read-data", own, client, "/usr/lib/x", private, "/Volumes/disk/x") == [own, client, "/usr/lib/x"]
    names = "/private/var/run/mDNSResponder"
    assert allowed("network-outbound", "tcp", names, "unix-socket") == ["tcp", names]
    assert allowed("mach-lookup", "com.apple.trustd", "com.apple.SecurityServer") == ["com.apple.trustd"]
    for operation in ("signal", "process-info-pidinfo"):
        assert allowed(operation, "same-sandbox", "others") == ["same-sandbox"]


def processes_with(mark: str) -> list[int]:
    found = []
    for one in psutil.process_iter():
        try:
            if mark in one.cmdline() and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.pid)
        except psutil.Error:
            pass
    return found
