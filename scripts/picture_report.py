"""Pictures of a sweep's report for the docs, taken in headless Chromium.

In: the report of `deepicd sweep report`. Out: one PNG for each section named, 1,100 pixels wide.
Needs `make browser`.

    python scripts/picture_report.py RUN/sweep.html docs/pictures --prefix NAME- answer parameters
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

OPTIONS = ("--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sections", nargs="+", help="ids of headings, as in the page's contents")
    parser.add_argument("--prefix", default="")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = ChromeOptions()
    for option in (*OPTIONS, "--window-size=1180,6000"):
        options.add_argument(option)
    with Chrome(options, Service("/usr/bin/chromedriver")) as driver:
        driver.get(given.report.resolve().as_uri())
        for name in given.sections:
            section = driver.find_element(By.CSS_SELECTOR, f"section[aria-labelledby='{name}']")
            file = given.out / f"{given.prefix}{name}.png"
            Image.open(io.BytesIO(section.screenshot_as_png)).quantize(64).save(file, optimize=True)
            print(file)


if __name__ == "__main__":
    main()
