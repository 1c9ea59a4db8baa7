"""
What holds for the whole of the source text: imports go down only, modules are small, tests are what they seem.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT

CORE0, TESTS = ROOT / "core0", ROOT / "tests"
LONGEST = 500  # lines of a module
# From top to bottom. A room imports from those below it only; those in one line know nothing of each other.
ROOMS = (
    ("service", "guest"),
    ("assembly", "corex"),
    ("housing",),
    ("client",),
    ("startup", "host"),
    ("agent",),
    ("commands",),
    ("containers",),
    ("network",),
    ("images",),
    ("jobs", "redis"),
    ("file_systems",),
    ("facts",),
    ("records",),
    ("spawn",),
    ("address",),
    ("threads",),
    (
        "reaper",
        "bucket",
        "clock",
        "durable",
        "garbage",
        "identity",
        "inherited",
        "lock",
        "log_text",
        "procfs",
        "start_errors",
        "waiting",
    ),
    ("config",),
    ("config_reader",),
    ("interfaces",),
    ("tree_interfaces", "host_interfaces"),
    ("values",),
    ("reading", "corex_messages", "corex_settings"),
    ("unknown_keys",),
    ("messages", "text_files"),
    ("odd_json", "errors"),
)
OF_CLIENT = {"messages", "errors", "waiting", "config", "redis", "reading", "images", "network", "log_text"}
OF_REACTOR = {"core0.service", "core0.corex", "core0.client.cli"}
SYNCHRONOUS, ASYNCHRONOUS = "twisted.trial.unittest.SynchronousTestCase", "twisted.trial.unittest.TestCase"
LOOKED_AT = (ast.stmt, ast.Call)  # kinds of nodes: the others are many
SKIPS = {"SkipTest", "skip", "skipIf", "skipUnless", "skipif", "missing"}


@dataclass(frozen=True)
class Module:
    """
    A module: its dotted name and its text.
    """

    name: str
    path: Path

    @property
    def room(self) -> str:
        """
        The room of core0 that it is in.
        """
        return self.name.split(".")[1] if "." in self.name else ""

    def nodes(self) -> Iterable[ast.AST]:
        """
        All of its text, parsed, of what the tests look at.
        """
        return _parse(self.path)

    def imports(self) -> Iterator[str]:
        """
        The full names of all that it imports, wherever.
        """
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _parse(path: Path) -> Sequence[ast.AST]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, LOOKED_AT)]


def modules(folder: Path) -> list[Module]:
    """
    All modules below a folder.
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(Module(".".join(parts).removesuffix(".__init__"), path))
    return found


class ImportTests(SynchronousTestCase):
    """
    Who knows whom.
    """

    def rank(self, room: str) -> int:
        """
        How far down a room is.
        """
        for number, rooms in enumerate(ROOMS):
            if room in rooms:
                return number
        raise AssertionError(f"core0/{room} is in no room: say in ROOMS, and in the documents, where it belongs")

    def test_down_only(self) -> None:
        """
        A module imports from its own room and from rooms below it, never from above or from beside it.
        """
        wrong = []
        for module in modules(CORE0):
            for name in module.imports():
                if not name.startswith("core0.") or not module.room or name == "core0.__version__":
                    continue
                room = name.split(".")[1]
                if room != module.room and self.rank(room) <= self.rank(module.room):
                    wrong.append(f"{module.name} imports {name}")
        self.assertEqual([], wrong)

    def test_jobs_and_redis(self) -> None:
        """
        Jobs know nothing of Redis, of the machine's facts or of commands, and Redis knows nothing of jobs.
        """
        for room, others in (("jobs", {"redis", "facts", "commands"}), ("redis", {"jobs", "commands"})):
            for module in modules(CORE0 / room):
                known = {name.split(".")[1] for name in module.imports() if name.startswith("core0.")}
                self.assertEqual(set(), known & others, module.name)

    def test_client(self) -> None:
        """
        The client library takes of core0 what both sides speak, and nobody in the daemon takes anything of it.
        """
        for module in modules(CORE0):
            known = {name.split(".")[1] for name in module.imports() if name.startswith("core0.")}
            if module.room == "client":
                self.assertLessEqual(known, OF_CLIENT | {"client"}, module.name)
            else:
                self.assertNotIn("client", known, module.name)

    def users(self, name: str) -> set[str]:
        """
        The modules of core0 that import something, or anything in it.
        """
        return {
            module.name
            for module in modules(CORE0)
            if any(found == name or found.startswith(f"{name}.") for found in module.imports())
        }

    def test_txredisapi(self) -> None:
        """
        The client of Redis is used in one place.
        """
        self.assertEqual(set(), {name for name in self.users("txredisapi") if not name.startswith("core0.redis.")})

    def test_subprocess(self) -> None:
        """
        Nobody starts programs behind the reaper's back.
        """
        self.assertEqual(set(), self.users("subprocess") | self.users("multiprocessing"))

    def test_reactor(self) -> None:
        """
        The reactor is imported by programs alone; everyone else is handed one.
        """
        self.assertLessEqual(self.users("twisted.internet.reactor"), OF_REACTOR)

    def test_nobody_missing(self) -> None:
        """
        What is looked for above exists.
        """
        self.assertIn("core0.redis.connection", self.users("txredisapi"))
        self.assertIn("core0.service", self.users("twisted.internet.reactor"))
        self.assertIn("core0.jobs.job", {module.name for module in modules(CORE0)})


class SizeTests(SynchronousTestCase):
    """
    A module is read as a whole.
    """

    def test_modules(self) -> None:
        """
        No module of core0 is longer than some screens.
        """
        lengths = {module.name: len(module.path.read_text().splitlines()) for module in modules(CORE0)}
        self.assertEqual({}, {name: lines for name, lines in lengths.items() if lines > LONGEST})


@dataclass(frozen=True)
class Case:
    """
    A class in a test module.
    """

    name: str
    bases: tuple[str, ...]
    node: ast.ClassDef

    def tests(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """
        Its own tests.
        """
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node


def cases() -> dict[str, Case]:
    """
    All classes of the tests by their full names.
    """
    found = {}
    for module in modules(TESTS):
        names = {name.rpartition(".")[2]: name for name in module.imports()}
        for node in module.nodes():
            if isinstance(node, ast.ClassDef):
                bases = (base.id for base in node.bases if isinstance(base, ast.Name))
                full = f"{module.name}.{node.name}"
                found[full] = Case(full, tuple(names.get(base, f"{module.name}.{base}") for base in bases), node)
    return found


class TestTests(SynchronousTestCase):
    """
    Tests are what they seem.
    """

    def test_docstrings(self) -> None:
        """
        Every test says in a sentence how the product behaves.
        """
        silent = []
        for module in modules(TESTS):
            for node in module.nodes():
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    text = (ast.get_docstring(node) or "").strip()
                    if not text.endswith("."):
                        silent.append(f"{module.name}: {node.name}")
        self.assertEqual([], silent)

    def test_no_mocks(self) -> None:
        """
        Nothing is tested against what agrees to everything.
        """
        for module in modules(TESTS):
            mocks = {
                name for name in module.imports() if name.split(".")[0] == "mock" or name.startswith("unittest.mock")
            }
            self.assertEqual(set(), mocks, module.name)

    def ancestors(self, name: str, all: dict[str, Case]) -> Iterator[str]:
        """
        A class and all that it derives from.
        """
        yield name
        for base in all[name].bases if name in all else ():
            yield from self.ancestors(base, all)

    def test_coroutines(self) -> None:
        """
        A test that is a coroutine is in a class that waits for it: elsewhere it would pass without running.
        """
        all, wrong = cases(), []
        for name in all:
            ancestors = set(self.ancestors(name, all))
            if SYNCHRONOUS not in ancestors or ASYNCHRONOUS in ancestors:
                continue
            for ancestor in ancestors & set(all):
                wrong += [
                    f"{name}: {test.name}" for test in all[ancestor].tests() if isinstance(test, ast.AsyncFunctionDef)
                ]
        self.assertEqual([], wrong)

    def test_tests_are_in_cases(self) -> None:
        """
        The classes of the tests are found with what they derive from.
        """
        all = cases()
        own = f"{__name__}.{type(self).__name__}"
        self.assertIn(SYNCHRONOUS, set(self.ancestors(own, all)))
        self.assertGreater(len(list(all[own].tests())), 3)

    def test_skips(self) -> None:
        """
        Whatever is skipped says what is missing.
        """
        silent = []
        for module in modules(TESTS):
            for node in module.nodes():
                reason = _reason(node)
                if reason is not None and not _says_something(reason):
                    silent.append(f"{module.name}, line {getattr(node, 'lineno', 0)}")
        self.assertEqual([], silent)


def _reason(node: ast.AST) -> ast.expr | None:
    """
    What a node that skips gives as its reason; None for any other node.
    """
    if isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "skip" for target in node.targets
    ):
        return node.value
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id == "SkipTest":
        return ast.Constant(None)
    if not isinstance(node, ast.Call):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in SKIPS:
        return None
    named = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
    return (named or node.args or [ast.Constant(None)])[-1]


def _says_something(reason: ast.expr) -> bool:
    return not isinstance(reason, ast.Constant) or (isinstance(reason.value, str) and len(reason.value) > 5)
