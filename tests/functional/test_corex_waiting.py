"""
Creations that wait for their images, and what else goes on meanwhile.
"""

import os
import signal

from tests.daemon import PATIENCE, eventually
from tests.functional.containers import kill, zygotes
from tests.functional.test_corex_failures import FailingTestCase
from tests.web import Page

MANY = 25  # more than are started at the same time
LONG = 10 * PATIENCE  # seconds that an answer takes which nobody waits for


class LoadingTests(FailingTestCase):
    """
    A server of plists that takes its time.
    """

    def test_others(self) -> None:
        """
        However many creations wait for their plists, one that has its image is not kept waiting by them.
        """
        web = self.web()
        paths = [f"/{number}.plist" for number in range(MANY)]
        web.pages |= {path: Page(b"", wait=LONG) for path in paths}
        ids = [self.daemon.push("corex.create", {"plist": web.url(path)}) for path in paths]
        eventually(lambda: all(web.asked[path] for path in paths), "all of them are asked for")
        number = self.create()
        self.terminate(number)
        for id in ids:
            self.assertEqual("KILLED", self.kill(id)["state"])
        self.assert_nothing_left()
        eventually(lambda: not self.guests(), "their guests have ended")

    def test_zygote(self) -> None:
        """
        A creation that has no zygote any more fails at once, and does not load its image to the end.
        """
        web = self.web()
        web.pages["/x.plist"] = Page(b"", wait=LONG)
        (zygote,) = zygotes(self.daemon)
        os.kill(zygote, signal.SIGSTOP)  # so that its guest does not come
        id = self.daemon.push("corex.create", {"plist": web.url("/x.plist")})
        eventually(lambda: web.asked["/x.plist"], "its plist is asked for")
        kill(zygote)
        self.assert_refused(503, "the zygote has ended", self.daemon.result(id))
        self.assert_nothing_left()
