"""The picture of the live page in README.md: `make screenshot` runs the demo and photographs its page in Chromium.

Needs `chromium` and `chromedriver`, and takes a minute: the lines on the page are what it has seen since it was opened.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from support.browser import chromium

PICTURE = Path(__file__).parents[1] / "images" / "live-page.png"
LARGEST = 200_000
"""Bytes."""
WIDTH, HEIGHT = 1100, 760
SECONDS_OF_LINES = 45
PATIENCE = 120


def main() -> None:
    """Write the picture."""
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "stream", "demo", "--rate", "60", "--seed", "7"], stdout=subprocess.PIPE, text=True
    )
    try:
        picture = photograph(address_of(demo))
    finally:
        demo.terminate()
        demo.wait(PATIENCE)
    if len(picture) > LARGEST:
        sys.exit(f"the picture has {len(picture):,} bytes, more than {LARGEST:,}")
    PICTURE.write_bytes(picture)
    sys.stdout.write(f"{PICTURE}: {len(picture):,} bytes\n")


def address_of(demo: subprocess.Popen[str]) -> str:
    """The page's address, as the demo prints it."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if found := re.match(r"page +(\S+)", line):
            return found[1]
    sys.exit("the demo ended before it printed the address of its page")


def photograph(address: str) -> bytes:
    """A PNG of the upper part of the page, with figures and lines."""
    with chromium() as browser:
        browser.set_window_size(WIDTH, HEIGHT)
        browser.get(f"{address}#journey=checkout&window=1h")
        WebDriverWait(browser, PATIENCE).until(lambda page: "Live" in page.find_element(By.ID, "condition").text)
        time.sleep(SECONDS_OF_LINES)
        return browser.get_screenshot_as_png()


if __name__ == "__main__":
    main()
