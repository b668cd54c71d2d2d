"""Takes a picture of a run in TensorBoard, for the documentation.

    pip install playwright                     (and install Chromium, for example Debian's package)
    python scripts/docs_tensorboard.py RUN PNG [--chromium PATH]

The documentation shows a run of `iresnet train digits-density --out RUN`.
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import click
from PIL import Image
from playwright.sync_api import sync_playwright

SHOWN = "bits_per_dim|log_det|largest_sigma|samples|reconstructions|^sigma"
COLOURS = 96


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=pathlib.Path))
@click.argument("png", type=click.Path(path_type=pathlib.Path))
@click.option("--chromium", default="/usr/bin/chromium", show_default=True)
@click.option("--port", default=6006, show_default=True)
def main(run, png, chromium, port):
    with _tensorboard(run / "tensorboard", port) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1480})
        filters = urllib.parse.urlencode({"smoothing": 0, "tagFilter": SHOWN})
        page.goto(f"{address}/?{filters}#timeseries")
        page.get_by_role("button", name="Settings").first.click()  # closes the side pane
        page.locator(".group-card-count").wait_for()
        time.sleep(20)  # the cards fetch and draw their data one by one
        page.screenshot(path=png)
        browser.close()
    Image.open(png).convert("RGB").quantize(COLOURS).save(png, optimize=True)


@contextlib.contextmanager
def _tensorboard(folder, port):
    """Starts a server on this machine, waits until it has read the run, and yields its address."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=log)
        try:
            while not _has_pictures(address):
                if server.poll() is not None:
                    log.seek(0)
                    raise click.ClickException(log.read().decode())
                time.sleep(1.0)
            yield address
        finally:
            server.terminate()
            server.wait()


def _has_pictures(address):
    try:
        with urllib.request.urlopen(f"{address}/data/plugin/images/tags") as answer:
            return b"samples" in answer.read()
    except OSError:
        return False


if __name__ == "__main__":
    main()
