"""
A process that is to have children.
"""

import json
import os
import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT

PREPARE = """
import json, os, resource, signal, sys
inherited = os.dup(1)
os.set_inheritable(inherited, True)
os.close(0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
resource.setrlimit(resource.RLIMIT_NOFILE, (50, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from core0.spawn import Surroundings
surroundings = Surroundings.prepare()
orphan = os.popen("sh -c 'sleep 0.01 & echo $!'").read()
print(json.dumps({
    "files": surroundings.files,
    "now": resource.getrlimit(resource.RLIMIT_NOFILE),
    "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "inheritable": os.get_inheritable(inherited),
    "stdin": os.readlink("/proc/self/fd/0"),
    "orphan": os.waitpid(int(orphan), 0)[0] == int(orphan),
}))
"""


class SurroundingsTests(SynchronousTestCase):
    """
    A process that is to have children.
    """

    def test_prepare(self) -> None:
        """
        It raises its limit on open files and remembers the old one, blocks no signal, has a stdin, hands no descriptor
        on, and gets the orphans of its children.
        """
        text = subprocess.run(
            [sys.executable, "-c", PREPARE], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60
        ).stdout
        found = json.loads(text)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.assertEqual(([50, hard], [hard, hard]), (found["files"], found["now"]))
        self.assertEqual(([], False, os.devnull), (found["blocked"], found["inheritable"], found["stdin"]))
        self.assertTrue(found["orphan"])
