"""
What core0 keeps of containers may be taken away while it runs: it is made anew, and what lives is ended all the same.
"""

import shutil

from tests.daemon import eventually
from tests.functional.containers import ContainerTestCase, kill, zygotes
from tests.functional.shared import lives, sh


class ContainersTests(ContainerTestCase):
    """
    With a container that lives.
    """

    def assert_works(self, number: int) -> None:
        """
        It runs commands.
        """
        result = self.inside(number, "core.system", sh("echo here"))
        self.assertEqual(("SUCCESS", "here\n"), (result["state"], result["streams"][0]), result)

    def test_zygote(self) -> None:
        """
        The zygote: the next container has another one.
        """
        number = self.create()
        for pid in zygotes(self.daemon):
            kill(pid)
            eventually(lambda pid=pid: not lives(pid), "it has ended")
        other = self.create()
        for each in (number, other):
            self.assert_works(each)
        self.end()
        self.assert_nothing_left()

    def test_store(self) -> None:
        """
        Contents and roots of images: they are brought again.
        """
        self.assert_works(self.create())
        self.end()
        images = self.daemon.state / "images"
        for path in (images, images / "store", images / "roots", images / "tmp"):
            shutil.rmtree(path)
            self.assert_works(self.create())
            self.end()

    def test_folder(self) -> None:
        """
        The folder of a container: it is terminated all the same.
        """
        number = self.create()
        shutil.rmtree(self.daemon.state / "containers" / str(number), ignore_errors=True)
        result = self.daemon.run_command("corex.terminate", {"container": number})
        self.assertEqual("SUCCESS", result["state"], result)
        self.assert_nothing_left()
        self.assert_works(self.create())

    def test_runtime(self) -> None:
        """
        What the runtime has written down: so it is then.
        """
        number = self.create()
        self.assert_works(number)
        shutil.rmtree(self.daemon.run / "containers")
        result = self.daemon.run_command("corex.terminate", {"container": number})
        self.assertEqual("SUCCESS", result["state"], result)
        self.assert_nothing_left()
        self.assert_works(self.create())
