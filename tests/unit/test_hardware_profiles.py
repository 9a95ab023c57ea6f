"""Profiles: files that are refused in one clear line, and a choice that does not depend on order."""

import itertools

import pytest

from autoresearch.errors import UsageError
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.planner import profiles
from autoresearch.hardware.planner.profile_file import Match, Profile

GOOD = """
title = "Mine"
backends = ["gpu"]
[match]
memory_gb = [10, 14]
[data]
corpus = "stdlib"
vocab_size = 4096
seq_len = 512
eval_bytes = 500_000
[budget]
train_seconds = 300
startup_limit_seconds = 600
[train]
DEPTH = 4
WINDOW_PATTERN = "L"
[runtime]
compile = false
threads = 3
"""
GPU = Backend("gpu", "gpu", folder=None, train_py=None)


def device(**facts):
    return Facts(ok=True, device=facts.pop("name", "a device"), **facts)


def profile(file, backends=("gpu",), **match):
    return Profile(file, file, tuple(backends), Match(**match), {}, {}, {}, source=f"{file}.toml")


def test_a_file_of_the_users_own(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    mine = profiles.load(tmp_path / "mine.toml")
    assert (mine.name, mine.match, mine.train, mine.runtime) == (
        "mine",
        Match(memory_gb=(10, 14)),
        {"DEPTH": 4, "WINDOW_PATTERN": "L"},
        {"compile": False, "threads": 3},
    )
    assert Profile.from_dict(mine.to_dict(), mine.source) == mine


def test_a_file_without_runtime_leaves_every_choice_to_it(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD.partition("[runtime]")[0], encoding="utf-8")
    assert profiles.load(tmp_path / "mine.toml").runtime == {}


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("title =", "titel =", r"unknown key 'titel'; did you mean title\?.*allowed: title, backends"),
        ('title = "Mine"', "", "the key 'title' is missing; it must be text"),
        ('["gpu"]', '"gpu"', "backends must be a list of backend names"),
        ("[match]", "[matsch]", "unknown key 'matsch'; did you mean match"),
        ("[match]\nmemory_gb", "[data]\nmemory_gb", "not readable as TOML"),
        ("seq_len = 512", 'seq_len = "512"', r"\[data\] seq_len must be a whole number from 16 to 65536, not '512'"),
        ("seq_len = 512", "seq_len = 0", r"\[data\] seq_len must be"),
        ("seq_len = 512", "seq_len = true", r"\[data\] seq_len must be"),
        ("seq_len = 512", "", r"\[data\] the key 'seq_len' is missing"),
        ("seq_len = 512", "seqlen = 512", r"\[data\] unknown key 'seqlen'; did you mean seq_len"),
        ("4096", "300", r"\[data\] vocab_size must be a whole number from 320"),
        ("train_seconds = 300", "train_seconds = -1", r"\[budget\] train_seconds must be a number of seconds above 0"),
        ("train_seconds = 300", "train_seconds = nan", r"\[budget\] train_seconds must be"),
        ("[10, 14]", "[14, 10]", r"\[match\] memory_gb must be a range in GB"),
        ("memory_gb = [10, 14]", "capability = [8, 0]", r"\[match\] capability must be a range of versions"),
        ("DEPTH", "depth", r"\[train\] depth: the name of a constant of train.py is in UPPER_CASE"),
        ("DEPTH = 4", "DEPTH = {}", r"\[train\] DEPTH must be a number, text"),
        ("compile = false", "compiel = false", r"\[runtime\] unknown key 'compiel'; did you mean compile\?.*attention, threads"),
        ("compile = false", "compile = 0", r"\[runtime\] compile must be true or false, not 0"),
        ("compile = false", "attention = true", r"\[runtime\] attention must be one of the kinds that the backend has"),
        ("threads = 3", "threads = 0", r"\[runtime\] threads must be a whole number from 1 to 1024, not 0"),
        ("title =", "title", "not readable as TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(tmp_path, old, new, words):
    file = tmp_path / "mine.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=words) as error:
        profiles.load(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"no profile 'rtx-24'; did you mean rtx-24gb\?"):
        profiles.load("rtx-24")
    with pytest.raises(UsageError, match=r"no profile file .*nowhere\.toml"):
        profiles.load(tmp_path / "nowhere.toml")


SHELF = [
    profile("any"),
    profile("big", memory_gb=(20,)),
    profile("middle", memory_gb=(20, 60)),
    profile("recent", memory_gb=(20, 60), capability=((8, 0),)),
    profile("named", name=("RTX 40",)),
    profile("named-longer", name=("XYZ", "rtx 4090")),
    profile("other", backends=("npu",)),
]


@pytest.mark.parametrize(
    "facts, expected",
    [
        (device(), "any"),  # unknown memory meets no range
        (device(memory_bytes=10 * 2**30), "any"),
        (device(memory_bytes=60 * 2**30), "big"),  # the upper end is not in the range
        (device(memory_bytes=20 * 2**30), "middle"),  # the lower one is
        (device(memory_bytes=24 * 2**30, capability=(7, 5)), "middle"),
        (device(memory_bytes=24 * 2**30, capability=(8, 0)), "recent"),
        (device(name="NVIDIA RTX 4080", memory_bytes=24 * 2**30, capability=(8, 9)), "named"),
        (device(name="NVIDIA RTX 4090", memory_bytes=24 * 2**30, capability=(8, 9)), "named-longer"),
    ],
)
def test_the_most_specific_wins_in_any_order(facts, expected):
    for order in itertools.islice(itertools.permutations(SHELF), 0, None, 97):
        best, reason, others = profiles.choose("auto", GPU, facts, {one.name: one for one in order})
        assert best.name == expected
        assert reason
        assert {name for name, _ in others} == {one.name for one in SHELF} - {expected}
        assert dict(others)["other"] == "for npu, not gpu"


def test_a_tie_names_both_files():
    shelf = {one.name: one for one in (profile("one", memory_gb=(10, 20)), profile("two", memory_gb=(5, 15)))}
    with pytest.raises(UsageError, match=r"(one|two)\.toml and (one|two)\.toml fit this device equally well"):
        profiles.choose("auto", GPU, device(memory_bytes=12 * 2**30), shelf)


def test_a_profile_that_is_asked_for(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    chosen, reason, _ = profiles.choose(tmp_path / "mine.toml", GPU, device(memory_bytes=8 * 2**30))
    assert chosen.name == "mine"
    assert reason == "asked for by name, though it is for memory in GB 10 to below 14, here 8"
    shelf = {"other": profile("other", backends=("npu",))}
    npu = Backend("npu", "npu", folder=None, train_py=None)
    with pytest.raises(UsageError, match="the profile mine is for gpu, not for the backend npu; for npu there are: other"):
        profiles.choose(tmp_path / "mine.toml", npu, device(), shelf)
    with pytest.raises(UsageError, match=r"no profile is for the backend npu .* --profile FILE"):
        profiles.choose("auto", npu, device(), {})


def test_check_looks_the_constants_up_in_the_backends_train_py(tmp_path):
    (tmp_path / "train.py").write_text('DEPTH = 8\nWINDOW_PATTERN = "SSSL"\n', encoding="utf-8")
    gpu = Backend("gpu", "gpu", tmp_path, tmp_path / "train.py")
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    mine = profiles.load(tmp_path / "mine.toml")
    assert profiles.check(mine, {"gpu": gpu})[0] == "its 2 constants are in the train.py of gpu"
    assert profiles.check(mine, {})[0] == "the backend gpu is not there: its constants were not checked"
    (tmp_path / "mine.toml").write_text(GOOD.replace("DEPTH", "DEPHT"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine.toml: \[train\] for the backend gpu: .*DEPTH"):
        profiles.check(profiles.load(tmp_path / "mine.toml"), {"gpu": gpu})


def test_a_number_without_its_source_is_told(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD.replace("DEPTH = 4", "DEPTH = 4  # as mine"), encoding="utf-8")
    mine = profiles.load(tmp_path / "mine.toml")
    bare = profiles.without_source(mine)
    assert "DEPTH" not in bare and {"vocab_size", "WINDOW_PATTERN"} <= set(bare)
    assert f"no source beside {', '.join(bare)}, which a shipped profile needs" in profiles.check(mine, {})


def test_a_profile_for_any_backend_leaves_out_what_one_has_not(tmp_path):
    (tmp_path / "train.py").write_text("DEPTH = 8\n", encoding="utf-8")
    gpu = Backend("gpu", "gpu", tmp_path, tmp_path / "train.py")
    (tmp_path / "mine.toml").write_text(GOOD.replace('["gpu"]', '["*"]'), encoding="utf-8")
    mine = profiles.load(tmp_path / "mine.toml")
    chosen, reason, _ = profiles.choose(tmp_path / "mine.toml", gpu, device(memory_bytes=12 * 2**30, choices={"threads": [1, 3]}))
    assert (chosen.backends, chosen.train, chosen.runtime) == (("gpu",), {"DEPTH": 4}, {"threads": 3})
    assert reason == "asked for by name"
    with pytest.raises(UsageError, match="no profile is for the backend gpu"):  # auto takes none of that kind
        profiles.choose("auto", gpu, device(memory_bytes=12 * 2**30), {"mine": mine})
    assert profiles.check(mine, {"gpu": gpu})[0] == "for any backend: what one has not is left out"
