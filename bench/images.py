"""
Laying out root file systems.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.host import timed
from bench.table import RUNS, Row
from bench.web import served, server_program
from core0.images.build import build
from tests.daemon import ROOT

FILES, FOLDERS = 5000, 400
SIZE = 200_000_000  # bytes of all files
SLOWER, WARM = 2.5, 20  # times what tar takes; ms
SEED = 1


def fill(tree: Path) -> None:
    """
    Files of random content: most small, some large, as in an image of a system.
    """
    source = random.Random(SEED)
    folders = [tree / f"usr/lib/{number}" for number in range(FOLDERS)]
    for folder in folders:
        folder.mkdir(parents=True)
    sizes = [source.expovariate(1) for _ in range(FILES)]
    scale = SIZE / sum(sizes)
    for number, size in enumerate(sizes):
        path = source.choice(folders) / f"file-{number}"
        path.write_bytes(source.randbytes(max(1, round(size * scale))))


@contextmanager
def workshop() -> Iterator[Path]:
    """
    A folder with an image: ``www/image.plist``, its contents beside it, and ``image.tar`` of the same.
    """
    folder = Path(tempfile.mkdtemp(prefix="core0-layout-"))
    try:
        fill(folder / "tree")
        (folder / "www").mkdir()
        build(str(folder / "tree"), str(folder / "www" / "store"), str(folder / "www" / "image.plist"), lambda *_: None)
        subprocess.run(["tar", "-c", "-f", folder / "image.tar", "-C", folder / "tree", "."], check=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def layout() -> list[Row]:
    """
    A root file system that is not there, and one that is. The contents come over HTTP from a store on the same disk;
    all that is read is in memory before, and what was written before is on the disk. Each goes to a folder of its own,
    and nothing is removed meanwhile: the disk would be busy with it for a while.
    """
    server_program()  # before anything takes its time
    cold, warm, yardsticks = [], [], []
    with workshop() as folder, served(folder / "www", folder / "server.conf") as url:
        for number in range(RUNS):
            yardsticks.append(unpacked(folder, number))
            first, *others = laid_out(url, folder / f"core0-{number}")
            cold.append(first)
            warm.append(1000 * median(others))
    what = f"laying out {FILES:,} files, {SIZE // 1_000_000} MB, over HTTP"
    reached = median(cold) <= SLOWER * median(yardsticks)
    return [
        Row(f"{what}, cold", "s", cold, yardsticks, f"≤ {SLOWER} × it", reached),
        Row("the same, once it is there", "ms", warm, [], f"≤ {WARM} ms", median(warm) <= WARM),
    ]


def unpacked(folder: Path, number: int) -> float:
    """
    The yardstick: the seconds that ``tar x`` takes.
    """
    target = folder / f"tar-{number}"
    target.mkdir()
    os.sync()
    elapsed = timed()
    subprocess.run(["tar", "-x", "-f", folder / "image.tar", "-C", target], check=True)
    seconds: float = elapsed()
    return seconds


def laid_out(url: str, target: Path) -> list[float]:
    """
    The seconds that core0 takes, the first time and later.
    """
    target.mkdir()
    os.sync()
    command = [sys.executable, "-m", "bench.bare_images", f"{url}/image.plist", str(target)]
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    seconds: list[float] = json.loads(said)
    return seconds
