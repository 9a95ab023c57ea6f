"""How large report.html is, how long it takes to write, and to open in headless Chromium until its chart and table are drawn.

    python benchmarks/report_page.py [--experiments 5 125 2000] [--times 5] [--chromium /usr/bin/chromium] [--out FILE.json]

The studies are written, not trained (tests/e2e/pages.py): true ledgers and commits, a loss 4 times a second over 300 s, 20 lines of
log, every fifth edit one of 30 lines of code. Needs playwright. Write times are processor seconds; opening is the browser's own
clock from the start of the navigation, its median and worst.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "e2e"))
import pages
import studies

from autoresearch.report import answers
from autoresearch.report.page import html

DRAWN = "() => document.querySelector('#chart canvas') && document.querySelector('#table tbody tr') && performance.now() / 1000"


def opened(browser, page_file: Path) -> float:
    """Seconds."""
    page = browser.new_page()
    page.goto(page_file.as_uri(), wait_until="commit")
    seconds = page.wait_for_function(DRAWN, polling="raf").json_value()
    page.close()
    return seconds


def measured(folder: Path, corpus: Path, experiments: int, browser, times: int) -> dict:
    study = pages.made(folder / str(experiments), corpus, experiments, curve_lines=1200)
    started = time.process_time()
    state = answers.state_of(study)
    read = time.process_time()
    file = html.write(study, state)
    written = time.process_time()
    seconds = [opened(browser, file) for _ in range(times)]
    return {
        "experiments": experiments, "bytes": file.stat().st_size, "read_cpu_seconds": round(read - started, 3),
        "write_cpu_seconds": round(written - read, 3), "open_seconds": round(statistics.median(seconds), 3),
        "worst_open_seconds": round(max(seconds), 3),
    }  # fmt: skip


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, nargs="+", default=[5, 125, 2000])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        os.environ["AUTORESEARCH_CACHE_DIR"] = str(folder)
        (folder / "corpus").mkdir()
        corpus = studies.write_corpus(folder / "corpus")
        browser = playwright.chromium.launch(executable_path=chosen.chromium, args=["--no-sandbox"])
        rows = [measured(folder, corpus, experiments, browser, chosen.times) for experiments in chosen.experiments]
        browser.close()
    table = {"load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count(), "rows": rows}
    print(json.dumps(table, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
