"""Attempts on the network and on sockets of this machine. The servers are the trial's own and answer with the secret."""

import array
import os
import socket
import subprocess
import sys

from autoresearch.checks.attacks.attempt import Refused, Targets, attempt, call, secret_in

WAIT_SECONDS = 2.0


def _ask(family: int, kind: int, address: tuple[str, int] | str, targets: Targets) -> str:
    with socket.socket(family, kind) as line:
        line.settimeout(WAIT_SECONDS)
        line.connect(address)
        if kind == socket.SOCK_DGRAM:  # the others speak first
            line.send(b"hello")
        return secret_in(line.recv(1000), targets)


@attempt("a TCP connection")
def tcp(targets: Targets) -> str:
    return _ask(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", targets["tcp_port"]), targets)


@attempt("a TCP connection by IPv6", needs="ipv6")
def tcp_ipv6(targets: Targets) -> str:
    return _ask(socket.AF_INET6, socket.SOCK_STREAM, ("::1", targets["tcp6_port"]), targets)


@attempt("a UDP packet and its answer")
def udp(targets: Targets) -> str:
    return _ask(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", targets["udp_port"]), targets)


@attempt("a secret as a question to a name server (DNS)")
def dns(targets: Targets) -> str:
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06stolen\x07example\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(WAIT_SECONDS)
        line.sendto(question, ("127.0.0.1", targets["udp_port"]))
        return secret_in(line.recv(1000), targets)


@attempt("a server that others can connect to")
def listen(targets: Targets) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        return f"listens at {server.getsockname()[1]}"


@attempt("a raw socket", needs="root")
def raw_socket(targets: Targets) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "there is a raw socket"


@attempt("the list of network devices from the kernel (netlink)")
def netlink(targets: Targets) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as line:
        line.bind((0, 0))
        return "netlink answers"


@attempt("another program's connection (a child process)")
def child_connects(targets: Targets) -> str:
    code = f"import socket; print(socket.create_connection(('127.0.0.1', {targets['tcp_port']}), 2).recv(99))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    return secret_in(done.stdout, targets)


@attempt("a Unix socket, as Docker, ssh-agent and D-Bus have")
def unix_socket(targets: Targets) -> str:
    return _ask(socket.AF_UNIX, socket.SOCK_STREAM, targets["unix_path"], targets)


@attempt("an abstract Unix socket")
def abstract_socket(targets: Targets) -> str:
    return _ask(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + targets["abstract_name"], targets)


@attempt("one of a pair of sockets, pointed at another socket's name")
def redirected_pair(targets: Targets) -> str:
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"hello", targets["unix_datagram_path"])
    return "a packet went to a named socket"


@attempt("one of a pair of sockets, connected anew")
def reconnected_pair(targets: Targets) -> str:
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.connect(targets["unix_datagram_path"])
    ours.send(b"hello")
    return "a packet went to a named socket"


@attempt("a message with a name on a stream pair (sendmsg)", ends=True)
def named_message(targets: Targets) -> str:
    ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.sendmsg([b"hello"], [], 0, targets["unix_datagram_path"])
    return "a message went to a named socket"


@attempt("a connection that io_uring makes, unseen by a filter of system calls", needs="io_uring")
def io_uring(targets: Targets) -> str:
    os.close(call("io_uring_setup", 8, array.array("I", [0] * 30).tobytes()))
    return "there is a ring"


@attempt("an open socket or file of the harness's, inherited", ends=True)
def inherited(targets: Targets) -> str:
    kinds = []
    for fd in range(3, 256):
        try:
            where = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if where.startswith("socket:") or (where.startswith("/") and not where.startswith(("/dev/null", "/proc", "/usr"))):
            kinds.append(where)
    if not kinds:
        raise Refused("none but the line to the harness")
    return f"has {', '.join(kinds)}"
