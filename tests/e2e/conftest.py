"""A headless Chromium for the tests that look at pages."""

import shutil
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

OPTIONS = (
    *("--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"),
    "--window-size=1200,1000",
)


@pytest.fixture
def browser() -> Iterator[Chrome]:
    """Chromium, whose log holds everything that a page complains about; skipped without one."""
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no chromedriver here; as root, `make browser` installs Debian's")
    options = ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options, Service(driver)) as chrome:
        chrome.set_page_load_timeout(100)
        yield chrome
