"""Sphinx: the repository's pages as a site, `make docs`. Nothing of the package is imported, nothing is fetched.

The source is the whole repository, so that a page may link to any other one, as it does where the files are read.
"""

project = "Subtext"
author = "The Subtext authors"
copyright = author

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/**.md",
    "benchmarks/README.md",
    "experiments/**.md",
    "src/subtext/corpora/ether_layout.md",
]
# What is not there in a fresh clone is not looked through.
exclude_patterns = [".*", "work", "runs", "build", "dist", "data", "models", "outputs", "multirun"]

# Reports of experiments are reached from the pages that read them.
suppress_warnings = ["toc.not_included"]

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
# The theme's list of a section's pages, where a page is in no section.
html_sidebars = {"docs/*": [], "*": [], "experiments/**": []}
