"""
Text that people write, whatever editor has saved it: UTF-8 with or without a byte order mark, lines that end as they do
on Windows, no end of the last line. What is in another encoding is told, with the line.
"""

from core0.errors import Core0Error

UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class NotText(Core0Error):
    """
    Bytes are no UTF-8; the text says where, and what to do.
    """


def text_of(data: bytes) -> str:
    """
    The text of a file, without its byte order mark, its lines ended by newlines alone.

    :raises NotText: it is in another encoding, or has a NUL byte.
    """
    for mark, name in _OTHER_MARKS:
        if data.startswith(mark):
            raise NotText(f"not UTF-8 but {name} (at line 1); save it as UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise NotText(f"expected text, got a NUL byte (at line {_line(data, nul)}); save it as UTF-8")
    try:
        text = data.removeprefix(UTF8_MARK).decode()
    except UnicodeDecodeError as error:
        raise NotText(_misfit(error.object, error.start)) from error
    return text.replace("\r\n", "\n")


def _line(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _misfit(data: bytes, place: int) -> str:
    """
    Of a byte that is not UTF-8, what it may be.
    """
    latin = bytes((data[place],)).decode("latin-1")
    guess = f", which is {latin} in Latin-1" if latin.isprintable() else ""
    return f"not UTF-8 (at line {_line(data, place)}: byte 0x{data[place]:02x}{guess}); save it as UTF-8"


def one_line(data: bytes, limit: int) -> str:
    """
    The only line of a file, without what is around it; "" if it is empty.

    :param limit: bytes that it may have.
    :raises NotText: see :func:`text_of`; or there are more lines, or too many bytes.
    """
    if len(data) > limit:
        raise NotText(f"expected at most {limit} bytes, got more")
    text = text_of(data).strip()
    if "\n" in text or "\r" in text:
        raise NotText("expected one line, got more")
    return text
