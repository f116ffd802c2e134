"""Pages from templates that the package carries: words and layout there, what is shown in Python.

Values are never templates and never markup. In `NAME.md.j2` each is written so that Markdown takes it for text on one
line, in `NAME.html.j2` so that HTML does; what is markup of our own is marked as `safe`.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_ROOT: Final = Path(__file__).parents[1]
_MEANT: Final = re.compile(r"[\\|`*\[\]]|(?<!\w)_|_(?!\w)")
"""What begins code, stress, links and pictures, or ends a cell of a table; inside a word `_` does nothing."""
_ENTITY: Final = re.compile(r"&(?=[#\w])")
_TAG: Final = re.compile(r"<(?=[a-zA-Z/!?])")


def render(name: str, /, **values: Any) -> str:
    """A page.

    Args:
        name: of a template, from the package's folder: `corpora/card.md.j2`.
        values: what the template names.

    Raises:
        jinja2.UndefinedError: the template names a value that is not there.
    """
    return _environment(name.endswith(".md.j2")).get_template(name).render(values)


def cell(value: object) -> str:
    r"""Text as Markdown shows it letter for letter, on one line: in a table, a heading or a sentence.

    Example:
        >>> from subtext.core.templates import cell
        >>> print(cell("a|b <img>\n[here](x)"))
        a\|b &lt;img> \[here\](x)
    """
    return _escaped(one_line(value))


def code(value: object) -> str:
    """Text as code in a line, where neither a backslash nor an entity would be read."""
    return f"`{one_line(value).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def prose(value: object) -> str:
    """A sentence in which what stands between backticks is code, and all else is text."""
    parts = re.split(r"(`[^`]+`)", one_line(value))
    return "".join(code(part[1:-1]) if place % 2 else _escaped(part) for place, part in enumerate(parts))


def table_of(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    r"""A table in Markdown; in its cells, what stands between backticks is code.

    Example:
        >>> from subtext.core.templates import table_of
        >>> print(table_of(["name", "value"], [["a|b", 1]]))
        | name | value |
        |---|---|
        | a\|b | 1 |
    """
    head, *body = ([prose(value) for value in line] for line in (columns, *rows))
    lines = [f"| {' | '.join(line)} |" for line in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def one_line(value: object) -> str:
    """Text without line breaks and without what moves or colours text on a terminal."""
    return re.sub(r" {2,}", " ", "".join(c if c.isprintable() else " " for c in str(value)))


def _escaped(text: str) -> str:
    return _MEANT.sub(r"\\\g<0>", _TAG.sub("&lt;", _ENTITY.sub("&amp;", text)))


def marked(text: Callable[..., str]) -> "Callable[..., Markup]":
    """The function, whose text templates take as it is: it gives figures, words of ours, or text made harmless."""

    def found(*given: Any, **named: Any) -> "Markup":
        from markupsafe import Markup

        return Markup(text(*given, **named))

    return found


@cache
def _environment(markdown: bool) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_ROOT),
        # What is not marked as safe, also by a macro, is escaped by `cell`, and then passes the escaping for HTML.
        autoescape=True,
        finalize=(lambda value: value if hasattr(value, "__html__") else marked(cell)(value)) if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"code": marked(code), "prose": marked(prose)}
    return made
