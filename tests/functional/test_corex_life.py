"""
The life of containers, from corex.create to corex.terminate.
"""

from tests.functional.containers import ContainerTestCase


class X(ContainerTestCase):
    def test_a(self) -> None:
        n = self.create()
        print(self.listed())
        print(self.inside(n, "core.ping"))
        print(self.inside_sh(n, "id; env; mount; ls -l /data /proc/self/fd; cat /etc/hosts /etc/resolv.conf /etc/hostname; ps; ls -ld /tmp; ls -l /dev; cat /proc/self/cgroup"))
        print(self.traces.left())
