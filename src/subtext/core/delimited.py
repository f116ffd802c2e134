"""How a text file of cells is laid out: what divides them, and how it writes numbers."""

import re
from typing import Final

_SEPARATOR_LINE: Final = re.compile(r"\ufeff?\"?sep=(.)\"?[ \t;,]*(?:\r\n|\r|\n)", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_LONGEST_HEADER: Final = 1 << 16
_DECIMAL_COMMA: Final = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")


def layout_of(text: str, tabs: bool = False) -> tuple[str, str]:
    r"""What divides the cells of a file, and the file without the line that says so.

    Spreadsheets write `sep=;` into a first line of its own, and divide cells by semicolons where the comma is the
    decimal sign. Where no such line tells, it is what stands most often in the header outside of quotes, the comma of
    equals.

    Args:
        text: the whole file.
        tabs: whether its name says that tabs divide the cells.

    Returns:
        The dividing character, and the text from the header on, without empty lines above it.

    Example:
        >>> layout_of("sep=;\nstart;end\n1,5;2\n")
        (';', 'start;end\n1,5;2\n')
    """
    text = text.lstrip("\r\n")
    named = _SEPARATOR_LINE.match(text)
    if named:
        return named.group(1), text[named.end() :].lstrip("\r\n")
    header = re.split(r"[\r\n]", _QUOTED.sub("", text[:_LONGEST_HEADER]), maxsplit=1)[0]
    return "\t" if tabs else max(",;\t", key=header.count), text


def with_decimal_point(cell: str) -> str:
    """A number that is written with a decimal comma as one with a point; any other text as it is.

    Only for files whose cells are not divided by commas: there `1,500` may be a thousand and a half.
    """
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell
