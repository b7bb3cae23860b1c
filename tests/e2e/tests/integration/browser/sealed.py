"""Opens an executed notebook and runs it, as a reader does who has no terminal.

sealed.py BROWSER FOLDER PICTURES NOTEBOOK

Prints one JSON line: whether the page wants to save the notebook that nobody changed, and the cells after all were run.
"""

import json
import pathlib
import sys

from lab import CELLS_RUN, choose, opened, picture, show
from run_all import DONE

SETTLED = 2_000  # milliseconds
SHOWS_ITS_RUN = "() => window.cellsNow()[0].outputs.some(output => output.includes('deploy nothing'))"


def main():
    browser, folder, pictures, name = sys.argv[1:]
    pictures = pathlib.Path(pictures)
    with opened(browser, folder, pictures) as (page, lab):
        show(page, lab, name)
        # The page writes what the kernel tells some time after it is told, and nothing says when.
        page.wait_for_timeout(SETTLED)
        dirty = page.locator(".jp-mod-dirty").count() > 0
        picture(page, pictures / "sealed-opened.png")
        choose(page, "Run", "Run All Cells")
        # Before, the cells show what they showed when the notebook was made.
        page.wait_for_function(SHOWS_ITS_RUN, timeout=CELLS_RUN)
        page.wait_for_function(DONE, timeout=CELLS_RUN)
        picture(page, pictures / "sealed-ran.png", whole=True)
        print(json.dumps({"dirty": dirty, "ran": page.evaluate("window.cellsNow()")}), flush=True)


main()
