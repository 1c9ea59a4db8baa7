"""
Made-up machines: the files of /proc, /sys and /etc below a folder of their own.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


def machine(
    case: SynchronousTestCase, files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None
) -> Path:
    """
    A root folder that is gone after the test.

    :param files: contents by path.
    :param links: targets of symbolic links by path, both below the root.
    """
    folder = tempfile.TemporaryDirectory()
    case.addCleanup(folder.cleanup)
    root = Path(folder.name).resolve()
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    for name, target in (links or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(root / target, path.parent))
    return root
