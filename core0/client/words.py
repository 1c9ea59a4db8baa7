"""
What core0 says, in the words of corectl: its options instead of the arguments of commands, its own commands instead of
those of the protocol.
"""

import re
from collections.abc import Mapping

_FIELD = re.compile(r"""arguments((?:\.[A-Za-z_]+|\[(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[0-9]+|\.\.\.)\])+)(?=:)""")
_STEP = re.compile(r"""\.([A-Za-z_]+)|\[(?:(['"])((?:[^'"\\]|\\.)*)\2|[^\]]*)\]""")
_CREATE = {
    "plist": "PLIST",
    "network.bridge": "--bridge",
    "network.zerotier": "--zerotier",
    "network.mtu": "--mtu",
    "limits.memory": "--memory",
    "limits.cpu": "--cpu",
    "limits.pids": "--pids",
}
_BRIDGE = {
    "name": "NAME",
    "network.mode": "--mode",
    "network.nat": "--nat",
    "network.settings.cidr": "--cidr",
    "network.settings.start": "--start",
    "network.settings.end": "--end",
}
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "core.system": {"name": "PROGRAM", "args": "the arguments of the program"},
    "core.kill": {"id": "ID"},
    "corex.create": _CREATE,
    "corex.terminate": {"container": "N"},
    "corex.dispatch": {"container": "--container"},
    "bridge.create": _BRIDGE,
    "bridge.delete": _BRIDGE,
}
_ENDS = {
    "; check arguments.name and PATH": "; there is no shell, and PATH and the working directory are not those of here",
    "; see bridge.list": "; see: corectl bridge list",
    "; corex.list tells which there are": "; see: corectl container list",
    "; kill its corex.create": "; end the corectl container create that makes it",
    " (bridge.create, mtu)": " (corectl bridge create --mtu)",
}
_PARTS = {
    ": expected nothing with host_network, ": ": expected nothing with --host-network, ",
    ": expected at most limits.memory": ": expected at most --memory",
}
_TAG = "--tag"
_FIELDS = re.compile(r"(queue|max_time|max_restart|tags|id)(?=[:\[])")


def ours(text: str, command: str) -> str:
    """
    A reason of core0's as it is told to users of corectl.

    :param command: what was sent.
    """
    if command == "corex.dispatch":
        text = text.removeprefix("arguments.command: ")
    for end, instead in _ENDS.items():
        if text.endswith(end):
            text = text.removesuffix(end) + instead
    for part, instead in _PARTS.items():
        text = text.replace(part, instead, 1)
    found = _FIELD.match(text)
    if found:
        return _option(found[1], _OPTIONS.get(command, {})) + text[found.end() :]
    field = _FIELDS.match(text)
    return (_TAG if field[1] == "tags" else _dashed(field[1])) + text[field.end() :] if field else text


def _option(path: str, options: Mapping[str, str]) -> str:
    """
    The option that an argument has come from, and which of its values, where it may be there several times.
    """
    names, which = [], ""
    for name, quote, value in _STEP.findall(path):
        if name:
            names.append(name)
        elif quote:
            which = f" {value}"
    joined = ".".join(names)
    return options.get(joined, _dashed(names[0]) if len(names) == 1 else joined) + which


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
