"""
The table of the firewall: what it has, and what it does not have.
"""

import json
from typing import Any

from hypothesis import given
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from core0.network.desired import Desired
from core0.network.firewall import changes, commands, is_empty
from tests.unit.network import ALL, BARE, BR0, BR6, LINK, PORT, pictures


def added(desired: Desired, kind: str) -> list[Any]:
    """
    The chains, rules or maps of the table.
    """
    return [each["add"][kind] for each in commands(desired)["nftables"] if kind in each.get("add", {})]


class TableTests(SynchronousTestCase):
    """
    From what is desired to commands.
    """

    def test_nothing(self) -> None:
        """
        Where no rule is needed the table is removed, whether it is there or not.
        """
        table = {"table": {"family": "inet", "name": "core0"}}
        for desired in (Desired(), Desired(bridges=(BARE, BR6), links=(LINK,))):
            self.assertEqual({"nftables": [{"add": table}, {"delete": table}]}, commands(desired))
            self.assertTrue(is_empty(desired))

    @given(pictures())
    def test_whole(self, desired: Desired) -> None:
        """
        The table is replaced by one text, in which nothing is used that is not declared before.
        """
        found = commands(desired)["nftables"]
        self.assertEqual(["add", "delete"], [next(iter(each)) for each in found[:2]])
        known = set()
        for each in found[2:]:
            (kind, what), *others = each["add"].items()
            self.assertEqual([], others)
            if kind in ("chain", "map", "set"):
                known.add(what["name"])
            elif kind == "rule":
                text = json.dumps(what["expr"])
                self.assertIn(what["chain"], known)
                names = {word[1:] for word in text.split('"') if word.startswith("@")}
                self.assertLessEqual(names, known)

    @given(pictures(), pictures())
    def test_changes(self, before: Desired, after: Desired) -> None:
        """
        By fewer commands the maps become what they are in the whole table; where rules change there are none.
        """
        fewer = changes(before, after)
        if fewer is None:
            self.assertNotEqual(commands(before), commands(after))
            return
        for kind in ("rule", "chain"):
            self.assertEqual(added(before, kind), added(after, kind))
        maps = {each["name"]: each.get("elem", []) for kind in ("map", "set") for each in added(before, kind)}
        for each in fewer["nftables"]:
            ((verb, what),) = each.items()
            for element in what["element"]["elem"]:
                if verb == "add":
                    maps[what["element"]["name"]].append(element)
                else:
                    maps[what["element"]["name"]].remove(element)
        final = [each for kind in ("map", "set") for each in added(after, kind)]
        expected = {each["name"]: sorted(each.get("elem", []), key=str) for each in final}
        self.assertEqual(expected, {name: sorted(elements, key=str) for name, elements in maps.items()})

    def test_more_ports(self) -> None:
        """
        One more port where there are some takes one more element in each map, and no new rule.
        """
        fewer = changes(ALL, ALL.with_forwards([replace(PORT, host_port=8081)]))
        assert fewer is not None
        self.assertEqual(["any4_address", "any4_port"], [each["add"]["element"]["name"] for each in fewer["nftables"]])
        self.assertEqual({"nftables": []}, changes(ALL, ALL))

    def test_ports(self) -> None:
        """
        A port leads to the container's address and port, by its protocol.
        """
        maps = {each["name"]: each["elem"] for each in added(ALL, "map")}
        self.assertEqual([[{"concat": ["tcp", 8080]}, "10.7.0.2"]], maps["any4_address"])
        self.assertEqual([[{"concat": ["udp", 8080]}, 80]], maps["any6_port"])

    def test_masquerade(self) -> None:
        """
        Networks with ``nat`` get the address of the host, others keep theirs.
        """
        rules = [json.dumps(each["expr"]) for each in added(Desired(bridges=(BR0, BR6)), "rule")]
        self.assertEqual(1, len(rules))
        self.assertIn("10.7.0.0", rules[0])

    def test_outside(self) -> None:
        """
        Without ``nat`` only what comes from the host or from neighbours is given another source.
        """
        desired = Desired(bridges=(BR6,), links=(LINK,), forwards=(PORT,))
        leaving = [each["expr"] for each in added(desired, "rule") if each["chain"] == "leaving"]
        self.assertEqual(3, len(leaving))
        for expression in leaving:
            self.assertIn({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}, expression)
