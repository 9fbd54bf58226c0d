"""Makes the pictures of a report in README and docs: `python tests/reports/screenshot.py REPORT.html OUT.png`.

docs/report.png is the top of a report at the default size, docs/report_phone.png at `--width 390`. Needs a Chromium on this
machine; nothing else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chromium import Chromium, find_chromium


def main() -> int:
    """Parses the command line and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--section", default="", help="a hash such as leaderboard or 's=SAMPLE' to open first")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--full", action="store_true", help="the whole page instead of the window")
    given = parser.parse_args()
    executable = find_chromium()
    if executable is None:
        print("a Chromium must be installed (found none). On Debian: apt-get install chromium.", file=sys.stderr)
        return 2
    url = given.report.resolve().as_uri() + (f"#{given.section}" if given.section else "")
    with Chromium(executable) as browser:
        page = browser.page(url, width=given.width, height=given.height, dark=given.dark)
        page.wait_for("document.documentElement.classList.contains('ready')")
        if given.section:
            page.evaluate(f"document.getElementById({given.section!r})?.scrollIntoView({{behavior: 'instant'}})")
        page.screenshot(given.out, full=given.full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
