from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

import subtext
from subtext.core.templates import _environment, cell, code, one_line, prose, render

HOSTILE = "a|b\n# <img src=x> `c` ![p](http://x) [l](http://x) R&amp;D \\ *s* _t_ in_word \x1b[31m"


def test_a_cell_holds_nothing_that_markdown_reads() -> None:
    text = cell(HOSTILE)
    assert text.startswith(r"a\|b # &lt;img src=x> \`c\` !\[p\](http://x)")
    assert r"R&amp;amp;D \\ \*s\* \_t\_ in_word" in text
    assert "\n" not in text
    assert "\x1b" not in text


def test_code_stays_one_span_in_one_cell() -> None:
    assert code("a`b|c\nd") == "`a'b\\|c d`"


def test_prose_keeps_code_and_escapes_the_rest() -> None:
    assert prose("see `a_b [x]`, not <b> `open") == r"see `a_b [x]`, not &lt;b> \`open"


def test_what_is_on_one_line_keeps_the_spaces_between_words() -> None:
    assert one_line("a\r\n  b​c, ") == "a b c, "


@pytest.mark.parametrize("markdown", [True, False])
def test_a_value_is_neither_a_template_nor_markup(markdown: bool) -> None:
    page = _environment(markdown).from_string("{{ value }}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(value) }}")
    text = page.render(value="{{ 7 * 7 }}<b>")
    assert text.count("{{ 7") == 2
    assert text.count("&lt;b>") + text.count("&lt;b&gt;") == 2
    assert "amp" not in text


def test_every_template_is_markdown_or_html_and_names_what_it_is_given() -> None:
    root = Path(subtext.__file__).parent
    names = [path.relative_to(root).as_posix() for path in root.rglob("*.j2")]
    assert "report/templates/run.md.j2" in names
    for name in names:
        assert name.endswith((".md.j2", ".html.j2"))
        _environment(name.endswith(".md.j2")).get_template(name)
    with pytest.raises(UndefinedError, match="'content' is undefined"):
        render("replies/templates/comparison.md.j2")


def test_no_template_is_read_from_outside_the_package(tmp_path: Path) -> None:
    (tmp_path / "page.md.j2").write_text("x")
    for name in (str(tmp_path / "page.md.j2"), "../../pyproject.toml"):
        with pytest.raises(TemplateNotFound):
            render(name)
