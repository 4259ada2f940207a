"""Checks the built book: internal links, anchors, pictures, and the form of external links.

    python3 book.py DIRECTORY

DIRECTORY is where `mdbook build` wrote. Nothing is fetched. The exit status is 1 if something is
wrong.
"""

import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree
from html.parser import HTMLParser

# The page that mdBook makes of all others. Its links are theirs.
DERIVED = {"print.html"}
# Attributes that name another file.
ADDRESSES = {"a": "href", "img": "src", "link": "href", "script": "src", "source": "src"}


class Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.anchors = set()
        self.links = []
        self.problems = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        name = values.get("id")
        if name:
            if name in self.anchors:
                self.problems.append(f"the id {name} occurs twice")
            self.anchors.add(name)
        if tag == "a" and values.get("name"):
            self.anchors.add(values["name"])
        if tag == "img" and not values.get("alt"):
            self.problems.append(f"the picture {values.get('src')} has no alternative text")
        address = values.get(ADDRESSES.get(tag, ""))
        if address is not None:
            self.links.append((self.getpos()[0], address))


def external_problem(address):
    """Says what is wrong with the form of an external address."""
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme == "mailto":
        return None if "@" in parts.path else "no address"
    if parts.scheme not in ("http", "https"):
        return f"unexpected scheme {parts.scheme}"
    if not parts.hostname or port == 0:
        return "no host"
    if any(c.isspace() or c in '<>"`' for c in address):
        return "a character that must be encoded"
    return None


def picture_problem(path):
    """Says what is wrong with a picture: it has to be well-formed, and readable in light and dark."""
    if path.suffix != ".svg":
        return None
    text = path.read_text()
    try:
        root = xml.etree.ElementTree.fromstring(text)
    except xml.etree.ElementTree.ParseError as error:
        return f"not well-formed: {error}"
    if "prefers-color-scheme: dark" not in text and "currentColor" not in text:
        return "it has no colours for a dark page"
    if root.find("{http://www.w3.org/2000/svg}title") is None:
        return "it has no title"
    return None


def check(root):
    """Returns all problems, and the numbers of pages, links and pictures."""
    pages = {}
    problems = []
    for path in sorted(root.rglob("*.html")):
        if path.name not in DERIVED:
            pages[path] = Page(path.read_text())
    links = 0
    pictures = set()
    for path, page in pages.items():
        where = path.relative_to(root)
        problems += [f"{where}: {problem}" for problem in page.problems]
        for line, address in page.links:
            links += 1
            place = f"{where}:{line}: {address}"
            parts = urllib.parse.urlsplit(address)
            if parts.scheme or parts.netloc:
                problem = external_problem(address)
                if problem:
                    problems.append(f"{place}: {problem}")
                continue
            # The page for unknown addresses uses those of the root.
            base = root if parts.path.startswith("/") or path.name == "404.html" else path.parent
            name = urllib.parse.unquote(parts.path).lstrip("/")
            target = (base / name).resolve() if name else path.resolve()
            if target.is_dir():
                target = target / "index.html"
            if not target.is_relative_to(root.resolve()) or not target.is_file():
                problems.append(f"{place}: no such file in the book")
                continue
            if target.suffix == ".svg":
                pictures.add(target)
            anchor = urllib.parse.unquote(parts.fragment)
            known = next((other for there, other in pages.items() if there.resolve() == target), None)
            if anchor and known is not None and anchor not in known.anchors:
                problems.append(f"{place}: {target.name} has no such anchor")
    for picture in sorted(pictures):
        problem = None if "favicon" in picture.name else picture_problem(picture)
        if problem:
            problems.append(f"{picture.relative_to(root.resolve())}: {problem}")
    return problems, (len(pages), links, len(pictures))


def main():
    root = pathlib.Path(sys.argv[1])
    problems, (pages, links, pictures) = check(root)
    for problem in problems:
        print(problem)
    print(f"{pages} pages, {links} links, {pictures} pictures, {len(problems)} problems")
    return 1 if problems or pages < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
