"""docs/profiles.md: its tables are those that the profiles give, hold every profile and device, and its example is a profile."""

import dataclasses
import functools
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch_backend

from autoresearch.hardware.devices import registry
from autoresearch.hardware.devices.facts import Facts
from autoresearch.hardware.planner import profile_file, profiles

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import plan_errors  # noqa: E402
import profile_table  # noqa: E402

TEXT = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
MACHINES = profile_table.recorded()
BACKENDS = registry.scan()


TABLES = functools.cache(profile_table.tables)  # the same in every call, and a second of work


def run(monkeypatch, document: Path, option: str) -> None:
    monkeypatch.setattr(profile_table, "DOCUMENT", document)
    monkeypatch.setattr(profile_table, "tables", TABLES)
    monkeypatch.setattr(sys, "argv", ["profile_table.py", option])
    profile_table.main()


def rows(name: str) -> list[list[str]]:
    """The cells of one table of the document, without its head."""
    part = TEXT.partition(f"<!-- profile_table.py: {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _new_files() -> list[str]:
    """Profiles, backends and facts that git does not know yet: of somebody who is adding hardware."""
    command = ["git", "status", "--porcelain", "--untracked-files=all", "--", "profiles", "backends", "tests/facts"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    except OSError:  # no git
        return []
    return [line[3:] for line in said.splitlines() if line.startswith("??") and not line.endswith(".pyc")]


WRITE = "python benchmarks/profile_table.py --write"
of_this_tree = pytest.mark.skipif(bool(_new_files()), reason=f"new here: {_new_files()}; `{WRITE}` before the pull request")


@of_this_tree
@pytest.mark.slow
def test_the_document_has_the_tables_that_the_profiles_give():
    assert profile_table.filled(TEXT, TABLES()) == TEXT, f"`{WRITE}` makes them anew"


@of_this_tree
@pytest.mark.slow
def test_an_old_table_is_found_and_written_anew(monkeypatch, tmp_path):
    old = tmp_path / "profiles.md"
    old.write_text(TEXT.replace("| `rtx-12gb` |", "| `rtx-13gb` |"), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"run `python benchmarks/profile_table.py --write`"):
        run(monkeypatch, old, "--check")
    run(monkeypatch, old, "--write")
    assert old.read_text(encoding="utf-8") == TEXT


def test_a_lost_marker_is_named(monkeypatch, tmp_path):
    torn = tmp_path / "profiles.md"
    torn.write_text(TEXT.replace("<!-- end of published -->", ""), encoding="utf-8")
    with pytest.raises(SystemExit, match="end of published"):
        run(monkeypatch, torn, "--write")


@of_this_tree
def test_every_profile_is_in_the_table():
    assert [row[0].strip("`") for row in rows("profiles")] == list(profiles.all())


@of_this_tree
def test_every_recorded_machine_is_in_the_table_with_its_profile():
    listed = [(row[0], row[4].strip("`")) for row in rows("machines")]
    assert listed == [(one.facts.device, one.profile.name) for one in MACHINES] and len(listed) >= 25
    predicted = [row for row in rows("machines") if "n/a" not in row[-3:]]
    assert len(predicted) >= 20 and all("±" in cell for row in predicted for cell in row[-3:])


@of_this_tree
def test_what_needs_an_unknown_fact_is_not_available():
    known = {one.file: row for one, row in zip(MACHINES, rows("machines"), strict=True)}
    assert known["cpu-not-measured"][-3:] == ["n/a"] * 3
    assert known["gb10"][-2:] == ["n/a"] * 2 and known["gb10"][-3] != "n/a"  # its memory is known, its speed is not


@of_this_tree
def test_a_published_device_is_one_recorded_machine_and_has_rows():
    there = {row["device"] for row in plan_errors.read("devices.csv")}
    named = [device for one in MACHINES for device in one.published]
    assert len(set(named)) == len(named) and set(named) <= there
    shown = {(row[0].strip("`"), row[1]) for row in rows("published")}
    assert {(one.profile.name, device) for one in MACHINES for device in one.published} <= shown


@pytest.mark.slow
def test_a_cards_peaks_are_those_that_its_probe_would_find():
    torch = pytest.importorskip("torch")
    for backend, dtype in itertools.product(("cuda", "rocm", "xpu"), ("bfloat16", "float32")):
        gpu, peaks = torch_backend.device_runtime(backend).gpu, BACKENDS[backend].folder / "peaks.toml"
        cards = tomllib.loads(peaks.read_text(encoding="utf-8"))["card"]
        recorded = [one.facts.device for one in MACHINES if one.backend.name == backend]
        made_up = [form.format(card["name"]) for card in cards for form in ("Maker {}", "Maker X{}", "{} Laptop")]
        for device in made_up + recorded:
            facts = profile_table.with_peaks(Facts(ok=True, device=device, dtype=dtype), BACKENDS[backend])
            name = device.partition(" (gfx")[0]  # ROCm's probe adds it afterwards
            assert facts.peak_flops == gpu.peak_flops(peaks, name, getattr(torch, dtype))[0]
            assert facts.peak_bandwidth == gpu.peak_bandwidth(peaks, name)


def test_the_example_is_a_profile_and_every_key_is_explained():
    table = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1])
    example = profile_file.parse(table, "mine", "docs/profiles.md")
    assert profiles.check(example, BACKENDS)
    assert example.train["TOTAL_BATCH_SIZE"] % (example.train["DEVICE_BATCH_SIZE"] * example.data.seq_len) == 0
    keys = [field.name for table in (example.data, example.budget, example.match) for field in dataclasses.fields(table)]
    assert [key for key in keys if f"| `{key}` |" not in TEXT] == []
