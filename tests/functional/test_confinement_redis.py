"""
The way from a container to the server: there is none but that of its CoreX, which is narrow.
"""

import json
import re
import secrets
import socket
from errno import EACCES, ECONNREFUSED, ENOENT
from typing import Any

import redis

from core0.corex_messages import log_line, result_line, sample_line, stream_line
from core0.messages import Command, Outcome, encode, result_of
from tests.daemon import ONCE, eventually
from tests.functional.containers import OBSERVER, inner_socket, observer
from tests.functional.shared import answer_of, sh
from tests.functional.test_channels import REFUSED, commands, not_refused
from tests.functional.test_confinement_shared import ConfinementCase

NUMBER = 1  # whose lists the table of commands names


class NoWayTests(ConfinementCase):
    """
    A program in a container that looks for the server.
    """

    def test_sockets(self) -> None:
        """
        No socket of the host can be reached from a container: none is in its file system, none by an abstract name,
        none by a path that the kernel tells it, none through a descriptor of any process.
        """
        number = self.confined()
        name = f"core0-test-{secrets.token_hex(8)}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"\0{name}")
            listener.listen()
            self.assertEqual({"abstract": ECONNREFUSED}, self.probed(number, "abstract", name))
        self.assertEqual("", self.inside_sh(number, "find / -type s 2>/dev/null; true"))
        told = self.inside_sh(number, "sed 1d /proc/net/unix").splitlines()
        paths = {words[7] for line in told if len(words := line.split(maxsplit=7)) > 7}
        for path in {*paths, self.daemon.socket, inner_socket(self.daemon), "/run/redis/redis.sock"}:
            self.assertIn(self.probed(number, "path", path)["path"], (ENOENT, EACCES, ECONNREFUSED), path)
        found = self.inside_sh(number, "for fd in /proc/[0-9]*/fd/*; do readlink $fd; done 2>/dev/null; true")
        self.assertEqual("", re.sub(r"(?m)^(/dev/null|pipe:.*|anon_inode:.*)\n", "", found))
        self.assertEqual("1\n", self.inside_sh(number, "ls /sys/class/net | wc -l"))

    def test_inherited(self) -> None:
        """
        Programs get three descriptors, and nothing in their environment that tells of a server.
        """
        number = self.confined()
        for fields in ({}, {"stdin": "text"}):
            arguments = {**sh("ls /proc/self/fd | wc -l; env; cat /proc/[0-9]*/environ 2>/dev/null; true"), **fields}
            said = self.inside(number, "core.system", arguments)["streams"][0]
            self.assertEqual("4", said.split("\n")[0])
            self.assertNotRegex(said, r"(?i)redis|valkey|corex|secret|password|" + re.escape(str(self.daemon.folder)))
        for command, arguments in (("core.state", {}), ("process.list", {}), ("info.os", {}), ("info.disk", {})):
            said = json.dumps(self.inside(number, command, arguments))
            self.assertNotIn(".sock", said)


class CredentialsTests(ConfinementCase):
    """
    Somebody who has the credentials of a CoreX.
    """

    def observer(self, *, inner: bool = True) -> Any:
        """
        A client that may do everything, at the server that CoreX speak to, or at that of the clients.
        """
        client = observer(self.daemon, inner=inner)
        self.addCleanup(client.close)
        return client

    def corex(self, number: int) -> Any:
        """
        A client with the rights of the CoreX of a container.
        """
        # a second password: that of the CoreX itself is in its memory only
        password = secrets.token_hex(8)
        self.observer().execute_command("ACL", "SETUSER", f"corex-{number}", f">{password}")
        user = {"username": f"corex-{number}", "password": password}
        client = self.daemon.redis(unix_socket_path=inner_socket(self.daemon), retry=ONCE, **user)
        self.addCleanup(client.close)
        return client

    def test_refused(self) -> None:
        """
        They reach three lists and nothing else: no other list, no script, no setting, no name of a key.
        """
        numbers = [self.confined(), self.confined()]
        client = self.corex(numbers[0])
        self.assertTrue(client.ping())
        own = [
            [re.sub(rf"\b{NUMBER}\b", str(numbers[0]), word) if ":" in word else word for word in words]
            for words in commands(REFUSED)
        ]
        self.assertEqual([], not_refused(client, own))
        self.assertEqual("pong", answer_of(self.inside(numbers[0], "core.ping")))

    def test_nobody_else(self) -> None:
        """
        Whoever has a CoreX's way to its server, but is not that CoreX, is nobody there: without a password, or as
        somebody who needs none elsewhere. No client is known there, nor any CoreX at the clients' server.
        """
        client = self.corex(self.confined())
        for words in (("default", "x"), ("default", ""), ("x",), ("core0", ""), ("core0", "x")):
            with self.assertRaises(redis.exceptions.AuthenticationError):
                client.execute_command("AUTH", *words)
        client.close()
        with self.daemon.redis(unix_socket_path=inner_socket(self.daemon), retry=ONCE) as stranger:
            for command in (("PING",), ("RPUSH", "core:default", "{}"), ("HELLO", "3"), ("INFO",)):
                with self.assertRaises(redis.exceptions.AuthenticationError):
                    stranger.execute_command(*command)
        users = self.observer(inner=False).execute_command("ACL", "USERS")
        self.assertEqual({b"core0", b"default", OBSERVER.encode()}, set(users))

    def test_forged(self) -> None:
        """
        core0 takes from a CoreX only results of what it has sent to that container, each under the id that it was sent
        with; everything else on its list is gone, and changes nothing.
        """
        one, other = self.confined(), self.confined()
        job = self.running_inside(one, "touch $ready; sleep 60", stream=True)
        admin = self.observer(inner=False)
        errands = [int(seq) for seq in admin.hkeys("core0:dispatched:1:1")]
        self.assertEqual(1, len(errands))
        forged = [self.message(seq, id) for seq in (*errands, 1, 2**53) for id in (job, "forged", "")]
        garbage = [b"", b"null", b"[]", b'{"v":1}', b"[" * 100_000, b"\xff" * 1000, b'{"v":1,"seq":1e999}']
        foreign = [*forged, *garbage]
        self.push(f"corex:results:{other}", foreign)
        possible = [self.message(errands[0], id) for id in (job, "")]
        wrong = [line for line in forged if line not in possible]
        self.push(f"corex:results:{one}", [*wrong, *garbage])
        body = {"core": one, "node": "1:1", "command": job, "message": {"level": 1, "message": "forged", "epoch": 1}}
        for number, id in ((other, job), (one, "forged"), (other, "forged")):
            record = encode({**body, "command": id})
            lines = [stream_line(id, record, True), sample_line(id, {"cpu": 5}, 1e9), log_line(record)]
            self.push(f"core0:corex:{number}:records", [*lines, *garbage])
        self.wait_for_records(one, other)
        for name in (f"{kind}:{id}" for kind in ("result", "stats", "stream") for id in (job, "forged")):
            self.assertFalse(admin.exists(name), name)
        self.assertFalse([line for line in admin.lrange("core.logs", 0, -1) if b"forged" in line])
        for number in (one, other):
            self.assertEqual("pong", answer_of(self.inside(number, "core.ping")))
        self.assert_success(self.inside(one, "core.kill", {"id": job}), "true")
        self.assertEqual(("KILLED", one), tuple(self.daemon.result(job)[name] for name in ("state", "container")))

    def push(self, name: str, lines: list[bytes]) -> None:
        """
        Put lines on a list, and wait until core0 has taken them.
        """
        admin = self.observer()
        admin.rpush(name, *lines)
        eventually(lambda: not admin.llen(name), f"{name} is taken")

    def wait_for_records(self, *numbers: int) -> None:
        """
        Wait until all that is on the lists of records has been written, or not.
        """
        last = "the last record"
        body = {"core": 0, "node": "1:1", "command": "", "message": {"level": 1, "message": last, "epoch": 1}}
        for number in numbers:
            self.push(f"core0:corex:{number}:records", [log_line(encode(body))])
        logs = self.observer(inner=False)
        found = lambda: sum(last.encode() in line for line in logs.lrange("core.logs", 0, -1))  # noqa: E731
        eventually(lambda: found() == len(numbers), "the last records are written")

    def message(self, seq: int, id: str) -> bytes:
        """
        A result that nobody has asked for.
        """
        outcome = Outcome(data="forged")
        result = result_of(Command(command="x"), id, outcome, container=9, starttime=1, time=1, runs=1)
        return result_line(seq, encode(result))
