"""Two machines on one: network namespaces joined by a virtual cable, each with an address of its own (Linux, root, Debian's iproute2)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Host", "two_hosts", "why_no_hosts"]


@dataclass(frozen=True)
class Host:
    """A namespace: ``prefix`` before a command runs it there."""

    name: str
    address: str

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]


def why_no_hosts() -> str | None:
    """Why there can be no namespaces here, or None."""
    if shutil.which("ip") is None:
        return "the program ip is not installed (Debian: apt-get install iproute2)"
    name = f"retest-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not permitted here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=True)
    return None


@contextmanager
def two_hosts(number: int = 0) -> Iterator[tuple[Host, Host]]:
    """Two namespaces that reach each other at 10.213.N.1 and 10.213.N.2, and nothing else."""
    stem = f"rt{os.getpid() % 100_000}n{number}"
    hosts = Host(f"{stem}a", f"10.213.{number}.1"), Host(f"{stem}b", f"10.213.{number}.2")
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        _ip("link", "add", f"{stem}va", "netns", hosts[0].name, "type", "veth", "peer", "name", f"{stem}vb", "netns", hosts[1].name)
        for host, end in zip(hosts, ("va", "vb"), strict=True):
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", f"{stem}{end}")
            for device in ("lo", f"{stem}{end}"):
                _ip("-n", host.name, "link", "set", device, "up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)
