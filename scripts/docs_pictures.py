"""Runs the code that the documentation shows, and keeps the pictures that it makes.

    python scripts/docs_pictures.py [PAGE …]        (all of docs/pages by default)

A page's blocks run in order, in one namespace, in an empty folder. If they save a picture NAME.png
that the page shows as images/NAME.png, it is copied to that place. The copy contains a digest of
the page's code, so that the tests notice when code and picture no longer belong together.
"""

import hashlib
import os
import pathlib
import re
import sys
import tempfile

import matplotlib
from PIL import Image, PngImagePlugin

PAGES = pathlib.Path(__file__).resolve().parents[1] / "docs" / "pages"
COLOURS = 64

_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_SHOWN = re.compile(r"!\[[^\]]*\]\(images/(?P<name>[\w-]+\.png)\)")


def code(page):
    """Returns the blocks that run as one program, with the line numbers of the page."""
    text = page.read_text()
    program, lines = "", 0
    for block in _BLOCK.finditer(text):
        before = text.count("\n", 0, block.start("code"))
        program += "\n" * (before - lines) + block["code"]
        lines = before + block["code"].count("\n")
    return program


def run(page):
    """Runs the page's code in the working folder and returns its namespace."""
    matplotlib.use("Agg")
    names = {"__name__": page.stem}
    exec(compile(code(page), str(page), "exec"), names)
    return names


def pictures(page):
    """Lists the file names of the pictures that the page both makes and shows."""
    made = code(page)
    return [name for name in _SHOWN.findall(page.read_text()) if f'"{name}"' in made]


def digest(page):
    """Returns a digest of the page's code, which does not depend on the text around it."""
    lines = [line for line in code(page).splitlines() if line]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def digest_of(picture):
    """Returns the digest of the code that made the picture."""
    with Image.open(picture) as image:
        return image.info.get("code")


def main(names):
    for page in [PAGES / f"{name}.md" for name in names] or sorted(PAGES.glob("*.md")):
        if pictures(page):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                run(page)
                for name in pictures(page):
                    _keep(pathlib.Path(name), page)


def _keep(made, page):
    target = PAGES / "images" / made.name
    text = PngImagePlugin.PngInfo()
    text.add_text("code", digest(page))
    with Image.open(made) as image:
        image.convert("RGB").quantize(COLOURS).save(target, optimize=True, pnginfo=text)
    print(f"{target} ({target.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main(sys.argv[1:])
