"""
What goes wrong with networks, as clients hear it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from core0.errors import Refusal
from core0.network.claim import NotOurs
from core0.network.helper import NotServed
from core0.network.kernel import NotTaken
from core0.network.nft import NotRuled
from core0.network.store import FILE, Unread


@contextmanager
def refusals() -> Iterator[None]:
    """
    Whatever is raised in there is a refusal outside: 503.
    """
    try:
        yield
    except (NotTaken, NotRuled, NotServed, NotOurs, Unread) as error:
        raise Refusal(503, str(error)) from error
    except OSError as error:
        raise Refusal(503, f"cannot write {FILE}: {os.strerror(error.errno or 0).lower()}") from error
