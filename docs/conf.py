"""
How Sphinx builds these pages: ``make docs``.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from docs import (
    generate_acl,
    generate_bounds,
    generate_commands,
    generate_configuration,
    generate_states,
)

ROOT = Path(__file__).resolve().parent.parent

project = "core0"
author = "the authors of core0"
html_theme = "alabaster"
html_theme_options = {"description": "The first process on a host", "page_width": "1100px"}
html_show_copyright = False
html_show_sphinx = False
highlight_language = "none"
nitpicky = True
exclude_patterns = ["_build", "reference/_generated", "example-command"]


def write_generated() -> None:
    """
    Write what is made from the program, next to the pages that include it.
    """
    folder = ROOT / "docs" / "reference" / "_generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "acl": generate_acl.generate,
        "acl-corex": generate_acl.generate_corex,
        "bounds": generate_bounds.generate,
        "commands": generate_commands.generate,
        "configuration": generate_configuration.generate,
        "states": generate_states.generate,
    }
    for name, generate in pages.items():
        # in one step: another build may be reading it
        new = folder / f"{name}.{os.getpid()}"
        new.write_text(generate(), encoding="utf-8")
        new.replace(folder / f"{name}.rst")


write_generated()
