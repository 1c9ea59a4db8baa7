"""
What clients may do on the server that core0 starts, as reStructuredText, made from the rules that it is given.

``python docs/generate_acl.py`` prints it.
"""

from collections.abc import Iterable

from core0.redis.acl import COMMANDS, READABLE, WRITABLE


def generate() -> str:
    """
    The keys, then the commands.
    """
    return (
        f"* Read and write: {_literals(WRITABLE)}.\n"
        f"* Read only: {_literals(READABLE)}.\n"
        f"* Commands: {_literals(command.replace('|', ' ').upper() for command in COMMANDS)}.\n"
    )


def _literals(names: Iterable[str]) -> str:
    return ", ".join(f"``{name}``" for name in names)


if __name__ == "__main__":
    print(generate())
