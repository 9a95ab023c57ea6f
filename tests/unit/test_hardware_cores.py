"""How many cores a process may use, counted on made-up trees of Linux's system files, and here."""

import os

import pytest

from autoresearch.hardware import cores


def write(root, files: dict[str, str]):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    return root


def siblings(*pairs: str) -> dict[str, str]:
    """Processors 0, 1, ... and which of them share a core."""
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": pair for n, pair in enumerate(pairs)}


V2 = {
    "proc/self/mountinfo": "22 1 0:20 / /proc rw - proc proc rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
}


def test_a_second_hardware_thread_is_no_core(tmp_path):
    write(tmp_path, siblings("0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"))
    assert cores.count(range(8), tmp_path) == 4
    assert cores.count({0, 4, 1}, tmp_path) == 2, "the affinity counts"
    assert cores.count({8, 9}, tmp_path) == 2, "without a topology each processor is a core"


@pytest.mark.parametrize("quota, expected", [("max 100000", 8), ("350000 100000", 3), ("50000 100000", 1), ("1600000 100000", 8)])
def test_the_quota_of_the_own_group_is_rounded_down_and_at_least_one(tmp_path, quota, expected):
    write(tmp_path, V2 | {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": quota})
    assert cores.count(range(8), tmp_path) == expected


def test_a_group_is_bound_by_the_groups_above_it(tmp_path):
    """As in a systemd slice: the service has no limit, the slice has."""
    write(tmp_path, V2 | {
        "proc/self/cgroup": "0::/lab.slice/lab-night.slice/run.service",
        "sys/fs/cgroup/lab.slice/cpu.max": "600000 100000",
        "sys/fs/cgroup/lab.slice/lab-night.slice/cpu.max": "200000 100000",
        "sys/fs/cgroup/lab.slice/lab-night.slice/run.service/cpu.max": "max 100000",
        "sys/fs/cgroup/other.slice/cpu.max": "100000 100000",
    })  # fmt: skip
    assert cores.cgroup_quota(tmp_path) == 2.0
    (tmp_path / "sys/fs/cgroup/lab.slice/lab-night.slice/run.service/cpu.max").write_text("150000 100000\n")
    assert cores.cgroup_quota(tmp_path) == 1.5


def test_a_container_that_sees_the_hosts_path(tmp_path):
    """Without a cgroup namespace: the path is the host's, and the container's own group is mounted in its place."""
    mount = "30 23 0:26 /docker/1a2b /sys/fs/cgroup ro - cgroup2 cgroup rw"
    files = {"proc/self/cgroup": "0::/docker/1a2b/job", "proc/self/mountinfo": mount, "sys/fs/cgroup/cpu.max": "max 100000"}
    write(tmp_path, files | {"sys/fs/cgroup/job/cpu.max": "300000 100000"})
    assert cores.cgroup_quota(tmp_path) == 3.0
    write(tmp_path, {"proc/self/cgroup": "0::/../elsewhere", "sys/fs/cgroup/cpu.max": "400000 100000"})
    assert cores.cgroup_quota(tmp_path) == 4.0, "what lies outside of what is mounted is bound by the mount's root"


def test_version_1_and_both_at_once(tmp_path):
    mounts = [
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    ]
    v1 = "sys/fs/cgroup/cpu,cpuacct/job"
    write(tmp_path, {
        "proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n0::/job",
        "proc/self/mountinfo": "\n".join(mounts),
        f"{v1}/cpu.cfs_quota_us": "-1", f"{v1}/cpu.cfs_period_us": "100000",
    })  # fmt: skip
    assert cores.cgroup_quota(tmp_path) is None
    write(tmp_path, {f"{v1}/cpu.cfs_quota_us": "250000"})
    assert cores.cgroup_quota(tmp_path) == 2.5
    write(tmp_path, {"sys/fs/cgroup/unified/job/cpu.max": "120000 100000"})
    assert cores.cgroup_quota(tmp_path) == 1.2


@pytest.mark.parametrize("files", [{}, {"proc/self/cgroup": "none\n", "proc/self/mountinfo": "cgroup2\n"}])
def test_a_system_without_control_groups_has_no_limit(tmp_path, files):
    write(tmp_path, files)
    assert cores.cgroup_quota(tmp_path) is None
    assert cores.count([], tmp_path) == 1


def test_a_mask_of_neighbours_holds_whole_cores():
    """As psutil gives it on Windows: 8 cores, 16 processors."""
    assert [cores.share(8, 16, allowed) for allowed in (16, 8, 3, 1)] == [8, 4, 2, 1]
    assert cores.share(4, 4, 4) == 4


def test_here():
    import psutil

    assert 1 <= cores.usable() <= psutil.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_affinity_of_this_process_counts():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.usable() == 1
    finally:
        os.sched_setaffinity(0, before)
