"""Sphinx: the pages of this folder as a site, `make docs`. Nothing of the package is imported, nothing is fetched."""

project = "Subtext"
author = "The Subtext authors"
copyright = author  # noqa: A001 (the name that Sphinx asks for)

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns: list[str] = []

# Anchors as GitHub makes them, so that links work in both places.
myst_heading_anchors = 4

html_theme = "pydata_sphinx_theme"
html_title = "Subtext"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
