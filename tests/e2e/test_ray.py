"""Workers on a Ray cluster: several raylets on this machine, each with a cache of its own, and real processes."""

import os
import signal
import socket

import psutil
import pytest
import studies
from ray_cluster import Cluster
from test_together import Ideas, sound

from autoresearch.agents.mix import Agents
from autoresearch.errors import UsageError
from autoresearch.loop.loop import Until, run_study
from autoresearch.workers import crews

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow

EDITS = [studies.BETTER, {"MLP_RATIO": 3}, {"SOFTCAP": 20.0}]
# What else such a node is like: it plays another device.
OTHER = {"AUTORESEARCH_NULL_DEVICES": '[{"index": 0, "id": "x", "name": "Another 9000"}]'}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, corpus):
    made = Cluster(tmp_path_factory.mktemp("ray"))
    for variables in ({}, {}, OTHER):
        made.add(**variables)
    yield made
    made.close()


class Killer(studies.Recorder):
    """Kills an actor's process with SIGKILL, then a node, each while something trains there."""

    def __init__(self, cluster: Cluster):
        super().__init__()
        self.cluster, self.workers = cluster, set()

    def event(self, event):
        super().event(event)
        if event["event"] == "begin" and event["n"]:
            self.workers.add(event["worker"])
            if self.workers == {1, 2} and self.cluster is not None:
                victim = self.cluster.actors(1)[0]
                self.family = victim.children(recursive=True)
                os.kill(victim.pid, signal.SIGKILL)
                self.cluster.kill(2)
                self.cluster.add()
                self.cluster = None


def test_a_night_on_two_nodes_with_a_worker_and_a_node_killed(tmp_path, corpus, cluster):
    study, setup = studies.make(tmp_path / "study", corpus, train_seconds=1.0)
    said, killer = [], Killer(cluster)
    crew = crews.choose("ray", study, setup, said.append, crews.joined("ray", cluster.address))
    with studies.without_pictures():
        ending = run_study(study, setup, Agents(Ideas(*EDITS)), Until(), killer, crew=crew)
    assert ending.reason == "that was all", ending
    state = studies.state_of(study)
    sound(study)
    studies.check_in_line(study)
    assert {one.description for one in state.experiments} == {"baseline", *map(str, EDITS)}, "nothing lost"
    assert state.best.audits and not any(audit.reason for audit in state.best.audits), "weights came back as they were scored"
    assert state.best.tests and state.gain.bpb > 0.01
    assert sum("is started again" in note for note in killer.notes) == 2
    assert any("device was simulated, is Another 9000" in note for note in killer.notes)
    _, alive = psutil.wait_procs(killer.family, timeout=20)
    assert not alive, "a training outlived its worker"
    assert all((cluster.cache(n) / "data" / study.prepared / "meta.json").is_file() for n in (1, 2)), (
        "the text came to its own cache"
    )
    assert not list((cluster.cache(1) / "ray").glob("*/*")), "nothing is left of the workers' folders"


def test_what_can_not_be_joined_is_said_in_a_line(monkeypatch):
    with pytest.raises(UsageError, match=r"no Ray cluster answers there .* `ray start --head`"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        crews.joined("ray", f"127.0.0.1:{port}")
    with pytest.raises(UsageError, match="it is no HOST:PORT"):
        crews.joined("ray", "nowhere")
    with pytest.raises(UsageError, match="add --workers ray"):
        crews.joined("auto", "127.0.0.1:6379")
    monkeypatch.setattr(crews.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "ray>=2.60"'):
        crews.joined("ray", None)


def test_a_cluster_of_another_version_is_refused(cluster, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '1.0.0'\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(UsageError, match=r"runs Ray: [2-9].*, and here is Ray: 1\.0\.0.*; install the same on both"):
        crews.joined("ray", cluster.address)
