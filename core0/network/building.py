"""
Networks, put together.
"""

import os
from typing import Any

from core0.interfaces import ThreadRunner
from core0.network.helpers import Helpers
from core0.network.networks import Networks
from core0.network.nft import Firewall
from core0.network.picture import Picture
from core0.network.store import Store
from core0.reaper import Reaper
from core0.spawn import Surroundings

FOLDER = "network"


def build(
    reactor: Any, in_thread: ThreadRunner, reaper: Reaper, surroundings: Surroundings, state_dir: str, *, subnet: str
) -> Networks:
    """
    :param in_thread: see :class:`core0.network.picture.Picture`.
    :param subnet: see :class:`core0.network.networks.Networks`.
    """
    helpers = Helpers(reactor, in_thread, reaper, surroundings, os.path.join(state_dir, FOLDER))
    firewall = Firewall(reactor, in_thread, reaper, surroundings)
    picture = Picture(in_thread, firewall, helpers, Store(state_dir))
    return Networks(reactor, in_thread, picture, helpers, subnet=subnet)
