"""
Whether this host can have containers, and which runtime does it best: tried, not guessed.
"""

import ctypes
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.containers import groups
from core0.containers.bundle import INIT, Spec, bundle
from core0.containers.machine import Machine, look
from core0.containers.programs import NotRun, Programs
from core0.containers.runtime import NSENTER, SHELL, UNSHARE, Runtime, find, last_words
from core0.containers.seccomp import LIBRARY
from core0.errors import Refusal
from core0.messages import shown
from core0.threads import in_pool
from core0.waiting import Occurrence, pause

KNOWN = ("crun", "youki", "runc")  # the fastest first
INIT_PROGRAMS = ("catatonit", "/usr/libexec/podman/catatonit")
IDS = 1_000_000_000  # the first user id of the container that is tried
SECONDS = 10.0  # for a container that says its version and ends
ENDED = 100  # looks whether what was tried has gone, 20 ms between them
LOOK = 0.02

# Everything is in memory, below a folder that the users of the container can enter, in a mount namespace that goes with
# this shell. $0 is what is hidden.
_TRY = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs /run
[ -z "$0" ] || mount -t tmpfs tmpfs "$0"
mkdir -p /run/bundle/rootfs
chown {IDS}:{IDS} /run/bundle/rootfs
cat > /run/bundle/config.json
exec "$@"
"""


def find_init() -> str | None:
    """
    The path of the program that is the first process of containers.
    """
    return next((path for name in INIT_PROGRAMS if (path := find(name)) is not None), None)


def missing(configured: str = "") -> str:
    """
    What this host lacks for containers, as far as it can be told at once; empty if nothing.

    :param configured: the runtime that has been chosen, a name or a path; empty: any.
    """
    lacks = [] if os.geteuid() == 0 else ["root: core0 runs as another user"]
    if configured and find(configured) is None:
        lacks.append(f"the runtime that [containers] runtime names: there is no program {shown(configured)}")
    elif not configured and not any(find(name) for name in KNOWN):
        lacks.append("an OCI runtime (Debian package crun or runc)")
    if find_init() is None:
        lacks.append("catatonit (Debian package catatonit)")
    if find(NSENTER) is None or find(UNSHARE) is None:
        lacks.append("nsenter and unshare (Debian package util-linux)")
    if not _loads(LIBRARY):
        lacks.append(f"{LIBRARY} (Debian package libseccomp2)")
    return ", ".join(lacks + _kernel_lacks(Path("/")))


def _kernel_lacks(root: Path) -> list[str]:
    lacks = []
    modules = root / "lib/modules" / os.uname().release / "kernel/fs/overlayfs"
    if "\toverlay\n" not in _text(root / "proc/filesystems") and not modules.is_dir():
        lacks.append("the file system overlay in the kernel")
    if not (root / "proc/self/ns/user").exists() or _text(root / "proc/sys/user/max_user_namespaces").strip() == "0":
        lacks.append("user namespaces (sysctl user.max_user_namespaces)")
    return lacks


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class Runtimes:
    """
    The runtime of this host: found at the first asking, and the same from then on. A host that has none is looked at
    again, when it is asked for again: somebody may have installed one.

    :param configured: a name or a path; empty: the fastest of those that work.
    """

    _log = Logger()

    def __init__(self, reactor: Any, programs: Programs, configured: str = "") -> None:
        self._reactor = reactor
        self._programs = programs
        self._configured = configured
        self._found: Runtime | None = None
        self._looking: Occurrence[Runtime | Failure] | None = None

    async def get(self) -> Runtime:
        """
        :raises Refusal: 503, there is none; says what is missing, or why those that are there do not work.
        """
        if self._found is not None:
            return self._found
        looking = self._looking
        if looking is None:
            # whoever asks first may be cancelled; the others wait for the same
            looking = self._looking = Occurrence()
            ensureDeferred(self._find()).addBoth(self._heard)
        result = await looking.wait()
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Runtime)
        return result

    def _heard(self, result: Runtime | Failure) -> None:
        looking, self._looking = self._looking, None
        if isinstance(result, Runtime):
            self._found = result
        if looking is not None:
            looking.happen(result)

    async def _find(self) -> Runtime:
        lacks = missing(self._configured)
        if lacks:
            raise Refusal(503, f"containers are not possible here; missing: {lacks}")
        machine = await self._in_thread(look)
        reasons = []
        for runtime in self._candidates():
            reason = await self._try(runtime, machine)
            if not reason:
                self._log.info("containers are run by {runtime}", runtime=runtime.program)
                return runtime
            where = f"{runtime.program}{' without ' + groups.UNIFIED if runtime.hide_unified else ''}"
            reasons.append(f"{where}: {reason}")
        raise Refusal(503, f"containers are not possible here; no OCI runtime works: {'; '.join(reasons)}")

    def _candidates(self) -> list[Runtime]:
        names = [self._configured] if self._configured else KNOWN
        found = [Runtime(path, os.path.basename(path)) for name in names if (path := find(name)) is not None]
        both = os.path.isdir(groups.UNIFIED)
        return [
            candidate
            for runtime in found
            for candidate in (runtime, replace(runtime, hide_unified=True))
            if both or not candidate.hide_unified
        ]

    async def _try(self, runtime: Runtime, machine: Machine) -> str:
        """
        Run a container that ends at once.

        :returns: why that is not possible; empty if it is.
        """
        id = f"core0-tried-{secrets.token_hex(8)}"
        cgroups = f"/{id}"  # no parent that another core0, trying at the same time, could remove
        spec = Spec(1, "tried", "/run/bundle/rootfs", IDS, cgroups, find_init() or "")
        config = bundle(spec, machine)
        config["process"]["args"] = [INIT, "--version"]
        hide = groups.UNIFIED if runtime.hide_unified else ""
        command = [find(UNSHARE) or UNSHARE, "--mount", "--propagation", "private", "--", SHELL, "-c", _TRY, hide]
        command += [runtime.program, "--root", "/run/runtime", "run", "--bundle", "/run/bundle", id]
        try:
            said = await self._programs.run(command, stdin=msgspec.json.encode(config), seconds=SECONDS)
        except NotRun as error:
            return str(error)
        finally:
            await self._clear(cgroups)
        if said.code:
            return last_words(said.err)
        return "" if said.out else "the container did not say anything"

    async def _clear(self, cgroups: str) -> None:
        for _ in range(ENDED):
            empty = await self._in_thread(groups.kill, cgroups)
            if empty and await self._in_thread(groups.remove, cgroups):
                break
            await pause(self._reactor, LOOK)

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        return await in_pool(self._reactor, self._reactor.getThreadPool(), work, *arguments)
