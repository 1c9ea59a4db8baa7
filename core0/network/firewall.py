"""
The one table of the firewall that is core0's: a function of what is desired, as ``nft`` takes it in JSON.

Ports of the host lead to containers, wherever the packets come from: from outside, with the address of the client
kept; from the host itself, its 127.0.0.1 included; from the neighbours of the container, and from itself. Networks with
``nat`` reach the world with the address of the host.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import collapse_addresses, ip_address, ip_interface
from typing import Any

from core0.network.desired import Desired, Forward, Network

FAMILY, TABLE = "inet", "core0"
RAW, DSTNAT, SRCNAT = -300, -100, 100  # priorities of chains, by the names that nft has for them
LOOPBACK = "::1"
PORTS = "ports"  # the chain that leads packets to containers

Json = dict[str, Any]
Elements = list[list[Any]]
_KEYS: list[Json] = [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]


def commands(desired: Desired) -> Json:
    """
    What replaces the table, whatever it was, in one step; removes it, if nothing is to be in it.
    """
    # what is deleted has to be there
    whole: list[Json] = [{"add": {"table": _table()}}, {"delete": {"table": _table()}}]
    rules = list(_content(desired, desired.forwards))
    if rules:
        whole += [{"add": {"table": _table()}}, *({"add": each} for each in rules)]
    return {"nftables": whole}


def changes(before: Desired, after: Desired) -> Json | None:
    """
    What makes of the table of one picture that of another, where only ports come and go: new rules take the kernel
    longer. None where rules do; without commands if both are the same.
    """
    had, has = set(before.forwards), set(after.forwards)
    # of those that both have one of each kind will do: there may be many, and this is done in the reactor's thread
    same = list({_kind(forward): forward for forward in before.forwards if forward in has}.values())
    old = list(_content(before, [*same, *(forward for forward in before.forwards if forward not in has)]))
    new = list(_content(after, [*same, *(forward for forward in after.forwards if forward not in had)]))
    if [_frame(each) for each in old] != [_frame(each) for each in new]:
        return None
    removed: list[Json] = []
    added: list[Json] = []
    for known, wanted in zip(old, new, strict=True):
        kind = next(iter(wanted))
        if kind in ("map", "set"):
            place = {key: wanted[kind][key] for key in ("family", "table", "name")}
            there, here = _elements(known), _elements(wanted)
            gone = [element for key, element in there.items() if key not in here]
            more = [element for key, element in here.items() if key not in there]
            removed += [{"delete": {"element": {**place, "elem": gone}}}] if gone else []
            added += [{"add": {"element": {**place, "elem": more}}}] if more else []
    return {"nftables": [*removed, *added]}


def _kind(forward: Forward) -> tuple[int, bool]:
    """
    Forwards of one kind have the same rules, and are in the same maps.
    """
    return forward.ip.version, bool(forward.host_address)


def _frame(each: Json) -> Json:
    """
    Without what is in a map, or a set.
    """
    return {kind: {key: value for key, value in what.items() if key != "elem"} for kind, what in each.items()}


def _elements(each: Json) -> dict[str, Any]:
    return {repr(element): element for what in each.values() for element in what.get("elem", ())}


def is_empty(desired: Desired) -> bool:
    """
    Whether no table is needed.
    """
    return next(_content(desired, desired.forwards), None) is None


def _table() -> Json:
    return {"family": FAMILY, "name": TABLE}


def _content(desired: Desired, forwards: Sequence[Forward]) -> Iterator[Json]:
    """
    :param forwards: those that the maps have.
    """
    if forwards:
        yield from _ports(forwards)
    leaving = [*_hairpins(desired), *_masquerades(desired)]
    if leaving:
        yield _chain("leaving", "nat", "postrouting", SRCNAT)
        yield from leaving


def _ports(forwards: Iterable[Forward]) -> Iterator[Json]:
    """
    The maps from ports to containers, and the chains that use them.
    """
    yield _chain("guard", "filter", "prerouting", RAW)
    # links to containers may carry packets from 127.0.0.1, which is to be no way to what listens there
    inner = _is(_payload("ip", "daddr"), _prefix("127.0.0.0", 8))
    yield _rule("guard", _is(_meta("iifname"), "lo", "!="), inner, _DROP)
    yield {"chain": {"family": FAMILY, "table": TABLE, "name": PORTS}}
    for version in (4, 6):
        of_version = [forward for forward in forwards if forward.ip.version == version]
        # an address of the host goes before all of them
        for exact in (True, False):
            chosen = [forward for forward in of_version if bool(forward.host_address) == exact]
            if chosen:
                yield from _lead(chosen, version, exact=exact)
    for name, hook in (("arriving", "prerouting"), ("own", "output")):
        yield _chain(name, "nat", hook, DSTNAT)
        yield _rule(name, _is(_fib("daddr"), "local"), {"jump": {"target": PORTS}})


def _lead(forwards: list[Forward], version: int, *, exact: bool) -> Iterator[Json]:
    """
    :param exact: for packets to one address of the host.
    """
    family, kind = ("ip", "ipv4_addr") if version == 4 else ("ip6", "ipv6_addr")
    name = f"{'exact' if exact else 'any'}{version}"
    types = [*([kind] if exact else []), "inet_proto", "inet_service"]
    addresses: Elements = []
    ports: Elements = []
    for forward in forwards:
        here = [str(ip_address(forward.host_address))] if exact else []
        key = {"concat": [*here, forward.protocol, forward.host_port]}
        addresses.append([key, str(forward.ip)])
        ports.append([key, forward.port])
    yield _map(f"{name}_address", types, kind, addresses)
    yield _map(f"{name}_port", types, "inet_service", ports)
    key = {"concat": [*([_payload(family, "daddr")] if exact else []), *_KEYS]}
    target = {
        "family": family,
        "addr": {"map": {"key": key, "data": f"@{name}_address"}},
        "port": {"map": {"key": key, "data": f"@{name}_port"}},
    }
    conditions = [_is(_meta("nfproto"), f"ipv{version}")]
    if version == 6:
        # the kernel does not let packets from there out: better refused at once
        conditions.append(_is(_payload("ip6", "daddr"), LOOPBACK, "!="))
    yield _rule(PORTS, *conditions, {"dnat": target})


def _hairpins(desired: Desired) -> Iterator[Json]:
    """
    Containers answer their neighbours directly, and the host by whatever way they have: so that answers come back here,
    what comes from those has the address of the bridge. By their addresses: where the kernel shows bridged packets to
    the firewall it does not say where they came in.
    """
    if not desired.forwards:
        return
    led = _is({"ct": {"key": "status"}}, "dnat", "in")
    targets = {(forward.container, forward.bridge) for forward in desired.forwards}
    networks: dict[tuple[str, int], list[Any]] = {}
    for link in desired.links:
        if link.address and not link.dhcp and (link.container, link.bridge) in targets:
            network = ip_interface(link.address).network
            networks.setdefault((link.bridge, network.version), []).append(network)
    for version, family, kind in ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr")):
        # in one set they must not overlap
        found = [
            {"concat": [_prefix(str(network.network_address), network.prefixlen), bridge]}
            for (bridge, of), given in sorted(networks.items())
            for network in collapse_addresses(given)
            if of == version
        ]
        yield _set(f"near{version}", [kind, "ifname"], found, flags=["interval"])
        near = {"concat": [_payload(family, "saddr"), _meta("oifname")]}
        yield _rule("leaving", _is(near, f"@near{version}"), led, _MASQUERADE)
    yield _set("led", "ifname", sorted({forward.bridge for forward in desired.forwards}))
    yield _rule("leaving", _is(_meta("oifname"), "@led"), led, _is(_fib("saddr"), "local"), _MASQUERADE)


def _masquerades(desired: Desired) -> Iterator[Json]:
    for bridge in desired.bridges:
        if bridge.subnet is not None and bridge.subnet.nat:
            away = _is(_meta("oifname"), bridge.name, "!=")
            yield _rule("leaving", _from(bridge.subnet.network), away, _MASQUERADE)


_DROP: Json = {"drop": None}
_MASQUERADE: Json = {"masquerade": None}


def _is(left: Json, right: Any, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def _from(network: Network) -> Json:
    source = _payload("ip" if network.version == 4 else "ip6", "saddr")
    return _is(source, _prefix(str(network.network_address), network.prefixlen))


def _prefix(address: str, length: int) -> Json:
    return {"prefix": {"addr": address, "len": length}}


def _fib(flag: str) -> Json:
    """
    What an address is to this host.
    """
    return {"fib": {"result": "type", "flags": [flag]}}


def _chain(name: str, kind: str, hook: str, priority: int) -> Json:
    where = {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}
    return {"chain": {"family": FAMILY, "table": TABLE, "name": name, **where}}


def _rule(chain: str, *expressions: Json) -> Json:
    return {"rule": {"family": FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}}


def _map(name: str, types: list[str], value: str, elements: Elements) -> Json:
    return {"map": {"family": FAMILY, "table": TABLE, "name": name, "type": types, "map": value, "elem": elements}}


def _set(name: str, types: list[str] | str, elements: list[Any], **more: Any) -> Json:
    # an empty list is none that nft takes
    given = {"elem": elements} if elements else {}
    return {"set": {"family": FAMILY, "table": TABLE, "name": name, "type": types, **more, **given}}
