"""
What corectl does about signals.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import PATIENCE, ROOT

# a signal that another thread gets leaves the main one where it is, like one that comes just before it begins to wait
HEARD = """
import os, signal, sys, threading, time
from pathlib import Path
from twisted.internet import reactor
from core0.client.signals import Signals

def send():
    main = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    while main.read_text().rpartition(")")[2].split()[0] != "S":
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(float(sys.argv[1]))
    os._exit(1)

def heard(number):
    print("heard", number)
    reactor.stop()

Signals(reactor, heard)
reactor.callWhenRunning(threading.Thread(target=send, daemon=True).start)
reactor.run(installSignalHandlers=False)
"""


class SignalsTests(SynchronousTestCase):
    """
    :class:`core0.client.signals.Signals`.
    """

    def test_heard(self) -> None:
        """
        A signal is heard at once, also if the reactor has just begun to wait for something else.
        """
        command = [sys.executable, "-c", HEARD, str(PATIENCE / 2)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
        self.assertEqual((0, "heard 15\n"), (done.returncode, done.stdout), done.stderr)
