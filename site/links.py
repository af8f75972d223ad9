"""Finds dead links in the site, and files from elsewhere: links.py FOLDER [FOLDER THAT MAY BE MISSING]

It follows the links of all pages outside of `rust/`, whose own links rustdoc checks.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[tuple[str, str]] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.add((tag, value))


def main() -> None:
    site = Path(sys.argv[1]).resolve()
    missing = [site / name for name in sys.argv[2:]]
    pages = {path: Page(path) for path in site.rglob("*.html") if site / "rust" not in path.parents}
    problems, links = [], 0
    for path, page in list(pages.items()):
        for tag, link in page.links:
            links += 1
            url = urlsplit(link)
            if url.scheme or url.netloc:
                # A page refers to others with `a` alone; its own parts are in the site.
                if tag != "a" and url.scheme != "data":
                    problems.append(f"{path.relative_to(site)}: {tag} from elsewhere: {link}")
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if any(folder in target.parents for folder in missing):
                continue
            if not target.is_file():
                problems.append(f"{path.relative_to(site)}: no such file: {link}")
            elif url.fragment and target.suffix == ".html":
                if target not in pages:
                    pages[target] = Page(target)
                if unquote(url.fragment) not in pages[target].ids:
                    problems.append(f"{path.relative_to(site)}: no such anchor: {link}")
    print("\n".join(sorted(problems)))
    print(f"{len(pages)} pages, {links} links, {len(problems)} problems")
    sys.exit(1 if problems or links < 1000 else 0)


if __name__ == "__main__":
    main()
