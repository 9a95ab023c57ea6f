"""A Ray cluster of several raylets on this machine, for tests and benchmarks: each node has a cache of its own.

In a process of its own, which is this file: Ray keeps one cluster for all of a process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil


class Cluster:
    """A head without CPUs, and the nodes that are added, numbered from 1."""

    def __init__(self, folder: Path, port: int = 0):
        """port: of the head; 0: any that is free."""
        self.folder = folder
        words = [sys.executable, __file__, str(folder), str(port)]
        variables = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
            start_new_session=True,
        )
        self.address = self._process.stdout.readline().strip()

    def add(self, cpus: int = 1, **variables: str) -> int:
        return self._ask({"add": cpus, "variables": variables})

    def kill(self, node: int) -> None:
        """Its raylet, and with it all on it."""
        self._ask({"kill": node})

    def kill_head(self) -> None:
        """Its control process (GCS): the cluster is no more, though its nodes do not know it yet."""
        self._ask({"kill": 0})

    def cache(self, node: int) -> Path:
        return self.folder / f"cache{node}"

    def actors(self, node: int) -> list[psutil.Process]:
        """The processes of workers there."""
        found = []
        for one in psutil.Process(self._process.pid).children(recursive=True):
            try:
                raylet = one.parent()  # a worker's own environment is no more to be read: Ray writes its title there
                if "ray::Seat" in " ".join(one.cmdline()) and raylet and self._is_of(raylet, node):
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def _is_of(self, process: psutil.Process, node: int) -> bool:
        return process.environ().get("AUTORESEARCH_CACHE_DIR") == str(self.cache(node))

    def close(self) -> None:
        """All of it, at once."""
        family = [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]
        for one in family:
            try:
                one.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _ask(self, what: dict) -> int:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve(folder: Path, port: int) -> None:
    """Print the address, then do what is told a line, until there is none; answers with the node's number."""
    from ray import cluster_utils

    head = {"num_cpus": 0, "include_dashboard": False} | ({"gcs_server_port": port} if port else {})
    made, nodes, number = cluster_utils.Cluster(initialize_head=True, head_node_args=head), {}, 0
    print(made.address, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "add" in asked:
            number += 1
            variables = asked["variables"] | {"AUTORESEARCH_CACHE_DIR": str(folder / f"cache{number}")}
            (folder / f"cache{number}").mkdir(parents=True)
            nodes[number] = made.add_node(num_cpus=asked["add"], env_vars=variables)
        elif asked["kill"]:
            made.remove_node(nodes.pop(asked["kill"]), allow_graceful=False)
        else:
            made.head_node.kill_gcs_server(check_alive=False)
        print(number, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
