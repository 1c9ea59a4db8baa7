"""
What clients, and the CoreX of containers, may do on the server that core0 starts, as reStructuredText, made from the
rules that it is given.

``python docs/generate_acl.py`` prints it.
"""

from collections.abc import Iterable

from core0.redis.acl import COMMANDS, READABLE, WRITABLE, corex_rules

_NUMBER = 7  # of a container; no rule has that digit otherwise


def generate() -> str:
    """
    The keys, then the commands.
    """
    return (
        f"* Read and write: {_literals(WRITABLE)}.\n"
        f"* Read only: {_literals(READABLE)}.\n"
        f"* Commands: {_literals(command.replace('|', ' ').upper() for command in COMMANDS)}.\n"
    )


def generate_corex() -> str:
    """
    The keys of the CoreX of container n, each with the commands to use it; then the commands without a key.
    """
    lists, others = [], []
    for rule in corex_rules(_NUMBER, "#hash"):
        if rule.startswith("("):
            key, *commands = rule.strip("()").split()
            access = "write only" if key.startswith("%W~") else "read and write"
            name = key.partition("~")[2].replace(str(_NUMBER), "<n>")
            lists.append(f"* ``{name}``, {access}: {_commands(commands)}.\n")
        elif rule.startswith("+"):
            others.append(rule)
    return "".join(lists) + f"* Without a key: {_commands(others)}.\n"


def _commands(rules: Iterable[str]) -> str:
    return _literals(rule.removeprefix("+").replace("|", " ").upper() for rule in rules)


def _literals(names: Iterable[str]) -> str:
    return ", ".join(f"``{name}``" for name in names)


if __name__ == "__main__":
    print(generate(), generate_corex(), sep="\n")
