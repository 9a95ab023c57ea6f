"""A machine that sleeps, is slow, or computes for others: the run is invalid and done again, never a discard."""

import os
import signal

import pytest
import studies
from machines import Acting, Machine, play
from scripted import Scripted
from studies import BETTER, START, TRAINS, WORSE, check_in_line, state_of, verdicts
from test_kill import Copies

from autoresearch.agents.mix import Agents
from autoresearch.cli import cli
from autoresearch.hardware.devices.accelerator import Device
from autoresearch.loop import watch
from autoresearch.loop.loop import Until, run_study
from autoresearch.run import experiment
from autoresearch.study import validity, workspace

CRASHES_LATER = START + (
    "run = measure.start()\n"
    "for step in run.steps(lambda path: path.write_bytes(b'x')):\n"
    "    run.report(1.0)\n"
    "    time.sleep(0.1)\n"
    "    raise RuntimeError('a broken idea')\n"
)


@pytest.fixture(autouse=True)
def one_check_is_known(monkeypatch):
    """The baseline's check is what the next ones are compared with, so that a test needs no more experiments."""
    monkeypatch.setattr(validity, "KNOWN", 1)


@pytest.fixture
def made(tmp_path, corpus):
    return studies.make(tmp_path / "study", corpus)


def outcome_of(study) -> list[tuple]:
    return [(one[2], one[4], [run[1] for run in one[5]]) for one in verdicts(study)]


@pytest.mark.slow
def test_a_sleep_makes_a_run_invalid_and_the_same_commit_runs_again_with_its_seed(tmp_path, corpus, capsys):
    quiet, setup = studies.make(tmp_path / "quiet", corpus)
    play(quiet, setup, [BETTER, WORSE], Machine())
    study, setup = studies.make(tmp_path / "study", corpus)
    machine = Machine()

    def training(number):
        if number == 1 and not machine.slept:
            machine.slept = 3600.0

    def at(event):
        if event["event"] == "invalid":
            assert (1, 1, "training") in seen.phases and (1, 1, "scoring") not in seen.phases  # no score has a say in it

    seen = Acting(at, training)
    play(study, setup, [BETTER, WORSE], machine, seen)
    (invalid,) = seen.of("invalid")
    assert (invalid["n"], invalid["k"], invalid["state"], invalid["asleep_seconds"]) == (1, 1, "suspended", 3600.0)
    seeds = [event["seed"] for event in seen.of("begin") if event["n"] == 1]
    assert len(seeds) == 2 and seeds[0] == seeds[1] == invalid["seed"]
    assert outcome_of(study) == outcome_of(quiet)
    assert [one[0] for one in outcome_of(study)] == ["keep", "keep", "discard"]
    check_in_line(study)
    assert cli.main(["show", "1", "--workspace", str(study.folder)], standalone_mode=False) in (0, None)
    shown = capsys.readouterr().out
    assert "run 1 was invalid (suspended) and done again: the computer slept for 3600 s" in shown
    assert "start-up " in shown and ", baseline " in shown
    cli.main(["status", "--workspace", str(study.folder)], standalone_mode=False)
    assert "0 lost, 1 invalid since the machine was disturbed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sleep_outside_of_a_training_costs_nothing(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] in ("begin", "run"):
            machine.slept += 100.0

    _, seen = play(study, setup, [BETTER], machine, Acting(at))
    assert not seen.of("invalid") and len(seen.of("run")) == 2


@pytest.mark.slow
def test_after_a_sleep_a_crash_is_not_the_ideas(made):
    study, setup = made
    machine = Machine()

    def training(number):
        if number == 1 and not machine.slept:
            machine.slept = 60.0

    _, seen = play(study, setup, [CRASHES_LATER], machine, Acting(training=training))
    assert [event["state"] for event in seen.of("invalid")] == ["suspended"]
    assert state_of(study).experiments[1].state == "crash"  # it does so awake too


@pytest.mark.slow
def test_others_load_makes_a_run_invalid_a_few_times_and_then_it_is_normal(made):
    """Where the processors' speed is not checked, so that nothing waits for it to go."""
    study, setup = made
    machine = Machine(has_checks=False)

    def at(event):
        if event["event"] == "start":
            machine.others = {1: 0.5, 2: 0.5, 3: 0.0, 4: 0.5}.get(event["n"], 0.0)

    _, seen = play(study, setup, [BETTER, WORSE, {"DEPTH": 18}, {"DEPTH": 19}], machine, Acting(at))
    trained = [(event["event"], event["n"]) for event in seen.of("invalid", "run") if event["n"] > 0]
    assert trained == [
        ("invalid", 1), ("invalid", 1), ("run", 1),  # the third counts, marked
        ("run", 2),  # as busy as before: normal
        ("run", 3),  # quiet: that is normal from now on
        ("invalid", 4), ("invalid", 4), ("run", 4),
    ]  # fmt: skip
    assert {event["state"] for event in seen.of("invalid")} == {"contended"}
    assert "others took 50% of the cores while it trained, compiler most" in seen.of("invalid")[0]["reason"]
    state = state_of(study)
    assert [bool(one.runs[0].disturbed) for one in state.experiments] == [False, True, False, False, True]
    assert [one.verdict for one in state.experiments] == ["keep", "keep", "discard", "discard", "discard"]
    check_in_line(study)


@pytest.mark.slow
def test_others_load_that_came_in_a_run_is_waited_for_before_it_runs_again(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "begin" and len(seen.of("begin")) == 2:
            machine.others = 0.5
        if event["event"] == "speed" and event["wait_seconds"] == 20.0:
            machine.others = 0.0

    seen = Acting(at)
    play(study, setup, [BETTER], machine, seen)
    order = [event["state"] for event in seen.of("invalid", "speed") if event["state"] != "steady"]
    assert order == ["contended"] * 3 and [event["event"] for event in seen.of("invalid", "run")] == ["run", "invalid", "run"]
    assert state_of(study).experiments[1].runs[0].disturbed is None and state_of(study).reference.taken == 0.0


@pytest.mark.slow
def test_a_crash_under_load_is_the_ideas(made):
    study, setup = made
    machine = Machine()
    play(study, setup, [CRASHES_LATER], machine, Acting(training=lambda number: setattr(machine, "others", 0.5 * (number == 1))))
    assert state_of(study).invalid == 0 and state_of(study).experiments[1].state == "crash"


@pytest.mark.slow
def test_a_slow_idea_is_late_once_and_a_second_time_only_under_load(made, monkeypatch):
    study, setup = made
    machine = Machine(has_checks=False)
    late = CRASHES_LATER.replace("time.sleep(0.1)", "time.sleep(60)")

    def at(event):
        if event["event"] == "begin":
            machine.others = 0.5 * (event["n"] == 1 and not seen.of("invalid"))
        if event["event"] == "verdict":  # of the baseline; the others are late however long they are waited for
            monkeypatch.setattr(experiment, "GRACE_LEAST_SECONDS", 0.5)
            monkeypatch.setattr(experiment, "GRACE_MOST_SECONDS", 0.5)

    seen = Acting(at)
    play(study, setup, [late, late + "#\nx = 1\n"], machine, seen)
    order = [(event["event"], event["n"]) for event in seen.of("invalid", "run")]
    assert order == [("run", 0), ("invalid", 1), ("run", 1), ("run", 2)]
    assert [one.state for one in state_of(study).experiments] == ["baseline", "timeout", "timeout"]


@pytest.mark.slow
def test_a_slow_machine_is_waited_for(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "verdict" and event["n"] == 0:
            machine.rate, machine.others = 60.0, 0.4
        if event["event"] == "speed" and event["wait_seconds"] == 40.0:
            machine.rate, machine.others = 100.0, 0.0

    _, seen = play(study, setup, [BETTER], machine, Acting(at))
    off = [event for event in seen.of("speed") if event["reason"]]
    assert {event["state"] for event in off} == {"contended"} and [event["wait_seconds"] for event in off] == [10.0, 20.0, 40.0]
    assert "fixed work at 60% of its usual speed: others take 40% of the cores, compiler most" in off[0]["reason"]
    assert machine.waits
    assert not seen.of("invalid") and [one.verdict for one in state_of(study).experiments][-1] == "keep"


@pytest.mark.slow
def test_a_machine_that_stays_slow_is_the_new_normal_and_no_night_waits_for_ever(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "verdict" and event["n"] == 0:
            machine.rate, machine.clock_mhz = 60.0, 1800.0

    _, seen = play(study, setup, [BETTER, {"DEPTH": 18}], machine, Acting(at))
    off = [event for event in seen.of("speed") if event["reason"]]
    assert [event["state"] for event in off] == ["throttled"] * (validity.NEW_NORMAL - 1) + ["normal"]
    assert [event["wait_seconds"] for event in off] == [10.0, 20.0, 40.0, 80.0, 160.0, None]
    assert "its clock is at 1800 MHz, usually 3000" in off[0]["reason"] and "from now on this counts" in off[-1]["reason"]
    assert not seen.of("invalid") and len(state_of(study).experiments) == 3
    assert state_of(study).reference.median("before") == 60.0


@pytest.mark.slow
def test_one_check_that_is_off_is_repeated_at_once(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "verdict" and event["n"] == 0:
            machine.rates = [70.0, 70.0, 70.0, 100.0]

    _, seen = play(study, setup, [BETTER], machine, Acting(at))
    assert not [event for event in seen.of("speed") if event["reason"]] and not machine.waits and not machine.rates


@pytest.mark.slow
def test_a_machine_that_is_slow_after_a_run_had_been_slow_in_it(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "begin" and event["n"] == 1:
            machine.rates = [60.0] * 4  # the check after this training, with its repetitions

    _, seen = play(study, setup, [BETTER], machine, Acting(at))
    assert [(event["n"], event["state"]) for event in seen.of("invalid")] == [(1, "slow")] * 2
    assert state_of(study).experiments[1].verdict == "keep" and "slow" in state_of(study).experiments[1].runs[0].disturbed


@pytest.mark.slow
def test_our_own_agent_beside_a_training_makes_nothing_invalid(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "verdict" and event["n"] == 0:
            machine.rate, machine.helpers = 60.0, 0.4

    _, seen = play(study, setup, [BETTER], machine, Acting(at))
    assert {event["state"] for event in seen.of("speed") if event["reason"]} == {"helped"}
    assert not seen.of("invalid") and not machine.waits
    assert state_of(study).reference.median("before") == 100.0


@pytest.mark.slow
def test_an_accelerator_that_is_throttled_as_its_driver_says(made, monkeypatch):
    monkeypatch.setattr(watch, "DEVICE_SECONDS", 1.0)
    monkeypatch.setattr(watch, "LEAST_READINGS", 1)  # there is no time for more
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "begin":
            machine.device = Device(event["n"] == 1 and len(seen.of("begin")) == 2, "heat", watts=200.0)

    seen = Acting(at)
    play(study, setup, [BETTER], machine, seen)
    assert [(event["n"], event["state"], event["device_throttled"]) for event in seen.of("invalid")] == [(1, "throttled", True)]
    state = state_of(study)
    assert state.experiments[1].verdict == "keep"
    joules = [run.joules for experiment in state.experiments for run in experiment.runs]
    assert joules and all(known and known % 400 == 0 for known in joules)  # each look at this clock takes two seconds


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a test sends no Ctrl-C to itself there")
def test_ctrl_c_ends_a_wait(made):
    study, setup = made
    machine = Machine()

    def at(event):
        if event["event"] == "verdict" and event["n"] == 0:
            machine.rate = 60.0
        if event["event"] == "speed" and event["wait_seconds"] == 20.0:
            os.kill(os.getpid(), signal.SIGINT)

    outcome, _ = play(study, setup, [BETTER], machine, Acting(at))
    assert outcome.exit_status == 130 and len(state_of(study).experiments) == 1
    machine.rate = 100.0
    play(study, setup, [BETTER], machine)
    assert [one.verdict is not None for one in state_of(study).experiments] == [True] * 2
    check_in_line(study)


@pytest.mark.slow
def test_real_load_makes_a_real_run_contended(tmp_path, corpus, monkeypatch, busy):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=2.0)
    processes = []

    def at(event):
        if event["event"] == "begin" and event["n"] == 1:
            monkeypatch.setattr(watch, "SHORTEST_SECONDS", 1.0)  # only now: the baseline may have any load beside it
            if len(listener.of("begin")) == 2:
                processes.extend(busy())
        if event["event"] == "invalid":
            while processes:
                processes.pop().kill()

    listener = Acting(at)
    run_study(study, setup, Agents(Scripted([BETTER])), Until(), listener)
    first = listener.of("invalid")[0]
    assert (first["n"], first["state"]) == (1, "contended") and first["taken"] >= 0.5
    assert state_of(study).experiments[1].verdict == "keep"
    check_in_line(study)


@pytest.mark.slow
@pytest.mark.thorough
def test_killed_at_any_write_beside_an_invalid_run_it_ends_the_same(tmp_path, corpus):
    study, setup = studies.make(tmp_path / "study", corpus)
    machine = Machine()

    def training(number):
        if number == 1 and not machine.slept:
            machine.slept = 60.0

    with pytest.MonkeyPatch.context() as patch:
        copies = Copies(study.folder, tmp_path / "copies", patch)
        play(study, setup, [BETTER], machine, Acting(training=training))
    assert state_of(study).invalid == 1
    for copy in copies.made[-20::3]:  # from before the invalid run to the end
        resumed = workspace.load(copy)
        play(resumed, setup, [BETTER], Machine())
        assert verdicts(resumed) == verdicts(study), copy.name
        check_in_line(resumed)


@pytest.mark.slow
def test_a_baseline_that_is_too_slow_beside_others_is_not_called_a_broken_machine(made):
    study, setup = made
    (study.folder / "train.py").write_text(TRAINS + "time.sleep(60)\n", encoding="utf-8")
    ending, seen = play(study, setup, [], Machine(others=0.8, has_checks=False))
    assert ending.exit_status == 1 and len(seen.of("invalid")) == 2
    assert "others took 80% of the cores" in ending.reason and "run again when this machine has nothing else to do" in ending.reason
