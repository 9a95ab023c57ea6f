"""A real browser, headless, for the tests of the page: the Chromium of the machine, which nothing downloads."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Of each text that is seen: its contrast with what lies behind it, as WCAG 2 counts it.
CONTRASTS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const weights = [0.2126, 0.7152, 0.0722];
  const light = (color) => parts(color).slice(0, 3).reduce((sum, c, i) => sum + linear(c / 255) * weights[i], 0.05);
  const behind = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return (parts(color)[3] ?? 1) === 1 ? color : behind(element.parentElement);
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const seen = [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility() && !one.disabled && hasText(one));
  return seen.map((element) => {
    const lights = [light(getComputedStyle(element).color), light(behind(element))];
    return [Math.max(...lights) / Math.min(...lights), element.outerHTML.slice(0, 60)];
  });
}"""
DRAWN = """(id) => {
  const canvas = document.querySelector(`#${id} canvas`);
  if (!canvas || !canvas.width) return 0;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0;
  for (let i = 3; i < pixels.length; i += 4) drawn += pixels[i] > 0;
  return drawn;
}"""


@contextlib.contextmanager
def launched() -> Iterator[object]:
    """The browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is on the search path: none of {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, "--no-first-run"])
        yield browser
        browser.close()


class Watched:
    """A page that remembers what it complained of and asked for."""

    def __init__(self, browser, url: str, width: int = 1280, scheme: str = "light"):
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#table tbody tr")

    def numbers(self) -> list[int]:
        """Of the experiments that the table shows, in its order."""
        return [int(text) for text in self.page.locator("#table tbody tr td:first-child").all_inner_texts()]

    def drawn(self, chart: str) -> int:
        """How many pixels are not blank."""
        return self.page.evaluate(DRAWN, chart)

    def contrasts(self) -> list[list]:
        return sorted(self.page.evaluate(CONTRASTS))
