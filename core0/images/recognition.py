"""
What a file is that is given for a root file system, whatever its name says.
"""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from core0.errors import Core0Error
from core0.images.compression import CHUNK, Damaged, compression_of, decompressed
from core0.images.entry import Kind
from core0.images.tar_headers import BLOCK
from core0.images.tree import Tree

UNREADABLE = "not an archive or plist that core0 can read"
BINARY = "binary data"
CHECKSUM = slice(148, 156)  # in a tar header
# by what begins at a place of the file; those that begin with zeros after others
_STARTS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"!<arch>\ndebian-binary", "a Debian package (.deb); unpack it with dpkg-deb --extract"),
    (0, b"!<arch>\n", "an ar archive"),
    (0, b"\xed\xab\xee\xdb", "an RPM package"),
    (0, b"070701", "a cpio archive; unpack it with cpio --extract, and build from the folder"),
    (0, b"070702", "a cpio archive; unpack it with cpio --extract, and build from the folder"),
    (0, b"070707", "a cpio archive; unpack it with cpio --extract, and build from the folder"),
    (0, b"\xc7\x71", "a cpio archive; unpack it with cpio --extract, and build from the folder"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"xar!", "a xar archive"),
    (0, b"hsqs", "a squashfs image; unpack it with unsquashfs, and build from the folder"),
    (0, b"sqsh", "a squashfs image; unpack it with unsquashfs, and build from the folder"),
    (1024, b"\xe2\xe1\xf5\xe0", "an erofs image"),
    (0, b"QFI\xfb", "a qcow2 disk image of a virtual machine"),
    (0, b"KDMV", "a VMDK disk image of a virtual machine"),
    (0, b"conectix", "a VHD disk image of a virtual machine"),
    (0, b"vhdxfile", "a VHDX disk image of a virtual machine"),
    (0, b"SIMPLE!", "an AppImage or another program"),
    (64, b"\x7f\x10\xda\xbe", "a VDI disk image of a virtual machine"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a program for Windows"),
    (0, b"LZIP", "a file compressed with lzip, which core0 does not read"),
    (0, b"\x1f\x9d", "a file compressed with compress (.Z), which core0 does not read"),
    (0, b"\x1f\xa0", "a file compressed with compress (.Z), which core0 does not read"),
    (0, b"\x04\x22\x4d\x18", "a file compressed with lz4, which core0 does not read"),
    (0, b"\x89LZO\0", "a file compressed with lzop, which core0 does not read"),
    (0, b"\x89PNG", "a picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"SQLite format 3\0", "a database (SQLite)"),
    (0, b"\xff\xfe", "text in UTF-16; save it as UTF-8"),
    (0, b"\xfe\xff", "text in UTF-16; save it as UTF-8"),
    (32769, b"CD001", "an ISO 9660 image of a CD"),
    (1080, b"\x53\xef", "an image of an ext file system; mount it, and build from the folder"),
    (512, b"EFI PART", "an image of a whole disk"),
    (510, b"\x55\xaa", "an image of a whole disk"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")
DOCKER = (
    "it is an archive of 'docker save' (manifest.json and layers), not a root file system, and core0 cannot read it "
    "yet: make one with 'docker create --name X IMAGE' and 'docker export -o X.tar X'"
)
OCI = (
    "it is an OCI image layout (oci-layout, index.json and blobs), not a root file system, and core0 cannot read it "
    "yet: unpack it with 'umoci unpack' and build from its folder rootfs, or have docker or podman load it (skopeo "
    "copy) and export a container"
)


class Unreadable(Core0Error):
    """
    A file is neither an archive nor a plist; the text says what it looks like.
    """


@dataclass(frozen=True, slots=True)
class Recognized:
    """
    :ivar compression: see :func:`core0.images.compression.compression_of`.
    :ivar tar: whether a tar archive begins there.
    :ivar other: what else it looks like, for people; "" if it may be a plist.
    """

    compression: str
    tar: bool
    other: str


def recognize(head: bytes) -> Recognized:
    """
    What a file is that begins like this.
    """
    compression = compression_of(head)
    inner = _unpacked(head, compression) if compression else head
    if _is_tar(inner):
        return Recognized(compression, True, "")
    other = next((name for place, start, name in _STARTS if inner.startswith(start, place)), "")
    return Recognized(compression, False, other or _text(inner))


def _unpacked(head: bytes, compression: str) -> bytes:
    file, found = decompressed(io.BytesIO(head), compression), b""
    try:
        while len(found) < len(head) and (piece := file.read1(CHUNK)):  # type: ignore[attr-defined]
            found += piece
    except Damaged:
        pass  # of course it is cut off
    return found


def _is_tar(head: bytes) -> bool:
    block = head[:BLOCK]
    try:
        return len(block) == BLOCK and any(block) and int(block[CHECKSUM].strip(b" \0"), 8) in _sums(block)
    except ValueError:
        return False


def _sums(block: bytes) -> tuple[int, int]:
    return tarfile.calc_chksums(block)  # type: ignore[attr-defined, no-any-return]


def _text(head: bytes) -> str:
    """
    Of what has no line as a plist has them, what it may be.
    """
    line = next((line for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()), b"")
    start = line.strip()[:100].lower()
    if not line or b"|" in line:
        return ""
    if start.startswith((*_HTML, b"<?xml")):
        page = any(word in head.lower() for word in _HTML)
        return "an HTML page, such as an error or a login that a server shows" if page else "an XML document"
    if b"\0" in head[:BLOCK]:
        return BINARY
    if start.startswith((b"{", b"[")):
        return "JSON"
    return "a script" if start.startswith(b"#!") else "plain text"


def packaged(tree: Tree) -> str:
    """
    Why a tree is no root file system but an image in layers, and what to do; "" if it is none.
    """
    tops: Mapping[str, Kind] = {entry.path: entry.kind for entry in tree.entries if "/" not in entry.path}
    if tops.get("manifest.json") is Kind.REGULAR and _has_layers(tree, tops):
        return DOCKER
    if tops.get("oci-layout") is Kind.REGULAR and "index.json" in tops and tops.get("blobs") is Kind.DIRECTORY:
        return OCI
    return ""


def _has_layers(tree: Tree, tops: Mapping[str, Kind]) -> bool:
    if any(name in tops for name in ("etc", "usr", "bin")):
        return False
    if "blobs" in tops or "repositories" in tops:
        return True
    return any(
        PurePosixPath(entry.path).name == "layer.tar" or ("/" not in entry.path and entry.path.endswith(".tar"))
        for entry in tree.entries
    )
