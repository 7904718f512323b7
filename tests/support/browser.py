"""A headless Chromium, controlled by WebDriver: Debian's `chromium` and `chromium-driver`."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from support.programs import program

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # with its sandbox it does not start as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)


@contextmanager
def chromium() -> Iterator[Chrome]:
    """One browser with its own profile. Raises `ServerUnavailableError` if it is not installed."""
    # Selenium downloads nothing if it gets both paths.
    browser, driver = program("chromium", "chromium"), program("chromedriver", "chromium-driver")
    with TemporaryDirectory(prefix="upsell-chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = browser
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        chrome = Chrome(options, Service(driver))
        try:
            yield chrome
        finally:
            chrome.quit()
