"""The configuration of Sphinx for these pages: `make doc`."""

import strongroom

project = "Strongroom"
copyright = "The Strongroom developers"
release = version = strongroom.__version__
extensions = ["sphinx.ext.autodoc"]
html_theme = "alabaster"
html_theme_options = {"description": strongroom.__doc__.splitlines()[0], "page_width": "60rem"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpicky = True
# Names of Python itself have no links, so that the build needs no network.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(datetime|io|os|shutil|sqlite3)(\..+)?|timedelta|Buffer|Native(Reader|Writer)|Supports(Async)?Read|_Opening(\[.*\])?",
    )
]
