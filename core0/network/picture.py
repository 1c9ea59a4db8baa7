"""
One picture of what is desired of the network: kept on disk, and made so, by the kernel, the firewall and programs.
"""

from collections.abc import Awaitable, Collection, Sequence

from twisted.logger import Logger
from twisted.python.failure import Failure

from core0.interfaces import ThreadRunner
from core0.network.claim import Claim, NotOurs
from core0.network.desired import Desired, Link
from core0.network.helper import NotServed
from core0.network.helpers import Helpers
from core0.network.kernel import Netlink, NotTaken
from core0.network.links import Manner, plug_all
from core0.network.nft import Firewall, NotRuled
from core0.network.plan import Kernel, Remove, Step, difference, late, strangers, withdrawal
from core0.network.store import FILE, Store, Unread

WRONG = "the network is not as it was"


class Picture:
    """
    Whoever changes it has it alone. All methods that do so raise what the kernel, the firewall, programs and the disk
    do: see :mod:`core0.network.refusals`.

    :param in_thread: calls in a thread that is always the same one.
    :ivar desired: what it is now.
    :ivar missing: ends of links of containers that were not there when core0 started.
    :ivar unread: why what is desired is not known; empty if it is.
    """

    _log = Logger()

    def __init__(self, in_thread: ThreadRunner, firewall: Firewall, helpers: Helpers, store: Store) -> None:
        self._in_thread = in_thread
        self._firewall = firewall
        self._helpers = helpers
        self._store = store
        self._netlink = Netlink()
        self._claim = Claim(store.folder)
        self.desired = Desired()
        self.missing: set[str] = set()
        self.unread = ""

    async def look(self) -> Kernel:
        """
        What there is.
        """
        return await self._in_thread(self._netlink.look)

    def known(self) -> None:
        """
        :raises Unread: what is desired is not known, so nothing can be made of it.
        """
        if self.unread:
            raise Unread(f"the networks cannot be changed now: {self.unread}; core0 goes on trying to read it")

    def _own(self) -> None:
        self.known()
        self._claim.take()

    async def recover(self, containers: Collection[int] | None) -> None:
        """
        Have again what was desired before. What cannot be is logged. Without anything desired nothing is touched. As
        long as that cannot be read nothing is touched either, and ``unread`` says why.

        :param containers: those that there may be; links and ports of all others are not desired any more. None: it is
            not known which there are.
        """
        try:
            before = await self._in_thread(self._store.load)
        except OSError as error:
            self.unread = f"cannot read {error.filename or FILE}: {error.strerror}"
            return
        self.unread = ""
        if before is None:
            return
        self.desired = before
        try:
            self._claim.take()
        except NotOurs as error:
            # it is made so as soon as that can be
            self._log.critical("{wrong}: {error}", wrong=WRONG, error=error)
            return
        after = before
        for number in {each.container for each in before.links} | {each.container for each in before.forwards}:
            if containers is not None and number not in containers:
                after = after.without_container(number)
        last = await self._recover_links(before, after)
        after = self.desired
        if await self._attempt(self._firewall.recover(after)):
            await self._attempt(self._in_thread(self._netlink.take, last))
        await self._attempt(self._helpers.recover(after))
        await self._attempt(self._in_thread(self._store.save, after))

    async def _recover_links(self, before: Desired, after: Desired) -> list[Step]:
        """
        :returns: the steps that are to be taken last.
        """
        self.desired = after
        try:
            kernel = await self.look()
        except NotTaken as error:
            self._log.error("{wrong}: {error}", wrong=WRONG, error=error)
            return []
        for name in strangers(after, kernel):
            text = "{name} is another link than the bridge that core0 has made; core0 leaves it alone"
            self._log.error(text, name=name)
            before, after = before.without_bridge(name), after.without_bridge(name)
        self.desired = after
        self.missing = {link.host_name for link in after.links} - kernel.links.keys()
        for step in [*withdrawal(before, after, kernel), *difference(after, kernel)]:
            await self._attempt(self._in_thread(self._netlink.take, [step]))
        return late(after, kernel)

    async def _attempt(self, work: Awaitable[object]) -> bool:
        try:
            await work
        except (NotTaken, NotRuled, OSError) as error:
            self._log.error("{wrong}: {error}", wrong=WRONG, error=error)
            return False
        except Exception:
            self._log.failure(WRONG, Failure())
            return False
        return True

    async def stop(self) -> None:
        """
        Look after it no more. All that containers need stays as it is.
        """
        self._firewall.stop()
        await self._helpers.stop()
        await self._in_thread(self._netlink.close)
        self._claim.drop()

    async def plug(self, links: Sequence[Link], namespace: str, manner: Manner) -> None:
        """
        Make links that are in the picture already.

        :param namespace: of the container whose they are.
        """
        await self._in_thread(plug_all, self._netlink, links, namespace, manner)

    async def more(self, after: Desired, kernel: Kernel, links: Sequence[Link] = (), namespace: str = "") -> None:
        """
        Have more; if that cannot be, all is as before.

        :param links: those that are new, of the container with this namespace.
        """
        self._own()
        before, steps, last = self.desired, difference(after, kernel), late(after, kernel)
        manner = Manner(back=after.forwards != before.forwards, several=len(links) > 1)
        # first: a core0 that is killed meanwhile makes it complete when it starts again
        await self._in_thread(self._store.save, after)
        try:
            await self._in_thread(self._netlink.take, steps)
            try:
                await self.plug(links, namespace, manner)
                await self._firewall.make(after)
                await self._in_thread(self._netlink.take, last)
                await self._helpers.make(after)
            except BaseException:
                await self._back(before, [Remove(link.host_name) for link in links])
                await self._in_thread(self._netlink.undo, [*steps, *last])
                raise
        except BaseException:
            await self._attempt(self._in_thread(self._store.back))
            raise
        self.desired = after

    async def less(self, after: Desired, kernel: Kernel, bridge: str) -> None:
        """
        Have less; if that cannot be, as much as before, as far as possible.

        :param bridge: one that goes, even if somebody else has made it.
        """
        self._own()
        before = self.desired
        steps: list[Step] = list(withdrawal(before, after, kernel))
        if bridge in kernel.links and Remove(bridge) not in steps:
            steps.append(Remove(bridge))
        try:
            await self._firewall.make(after)
            await self._helpers.make(after)
            await self._in_thread(self._netlink.take, steps)
            if after != before:
                # last: a core0 that is killed meanwhile has it all again when it starts
                await self._in_thread(self._store.save, after)
        except BaseException:
            await self._back(before, difference(before, await self.look()))
            raise
        self.desired = after

    async def drop(self, after: Desired) -> None:
        """
        Have less for good. Whatever fails: the rest goes, and what is left is nothing that is desired.
        """
        self._own()
        before, self.desired = self.desired, after
        failed: list[BaseException] = []
        for work in (
            lambda: self._withdraw(before, after),
            lambda: self._firewall.drop(after),
            lambda: self._helpers.make(after),
            lambda: self._in_thread(self._store.save, after),
        ):
            try:
                await work()
            except (NotTaken, NotRuled, NotServed, OSError) as error:
                failed.append(error)
        if failed:
            raise failed[0]

    async def _withdraw(self, before: Desired, after: Desired) -> None:
        await self._in_thread(self._netlink.take, withdrawal(before, after, await self.look()))

    async def keep(self, after: Desired) -> None:
        """
        Write down what has come to be by itself.
        """
        self.known()
        if after != self.desired:
            await self._in_thread(self._store.save, after)
            self.desired = after

    async def _back(self, before: Desired, steps: Sequence[Step]) -> None:
        """
        Have it as it was.
        """
        await self._attempt(self._helpers.make(before))
        await self._attempt(self._firewall.make(before))
        await self._attempt(self._in_thread(self._netlink.take, steps))
