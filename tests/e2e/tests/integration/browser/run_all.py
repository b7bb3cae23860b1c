"""Runs notebooks as a person does: JupyterLab's menus, in a real browser.

run_all.py BROWSER FOLDER PICTURES NOTEBOOK...

Opens each notebook of FOLDER in turn, runs all its cells through the menu, saves, loads the page
anew, and prints one JSON line a notebook with what was seen. Pictures are written to PICTURES.
"""

import json
import pathlib
import sys

from lab import CELLS_RUN, CLICK, LIVE_MOVES, PAGE_LOAD, choose, opened, picture, show

# Notes each content that the first output of a running cell has had.
WATCH = """
() => {
    window.movements = {};
    const look = () => {
        for (const cell of window.cellsNow()) {
            if (cell.prompt !== '[*]:' || !cell.outputs.length) continue;
            const seen = window.movements[cell.source] ??= [];
            if (cell.outputs[0] && seen.at(-1) !== cell.outputs[0]) seen.push(cell.outputs[0]);
        }
    };
    new MutationObserver(look).observe(document.querySelector('.jp-Notebook'),
        {subtree: true, childList: true, characterData: true, attributes: true});
}
"""

MOVING = """
() => window.cellsNow().some(cell =>
    cell.prompt === '[*]:' && (window.movements[cell.source] ?? []).length > 9)
"""

# The menu's command scrolls to the end; the person scrolls back to what moves.
TO_RUNNING = """
() => {
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
    const running = cells.filter(cell =>
        cell.querySelector('.jp-InputPrompt')?.innerText.trim() === '[*]:');
    running[0]?.scrollIntoView({block: 'center'});
}
"""

DONE = """
() => {
    const cells = window.cellsNow();
    return cells.length > 0 && cells.every(cell => /^\\[\\d*\\]:$/.test(cell.prompt) && !cell.blank)
        && (cells.every(cell => cell.prompt !== '[]:') || cells.some(cell => cell.failed));
}
"""

SHOWN = """
count => {
    const cells = window.cellsNow();
    return cells.reduce((sum, cell) => sum + cell.outputs.length, 0) >= count
        && cells.every(cell => cell.pictures === cell.drawn && !cell.blank);
}
"""


def run(page, lab, name, pictures, moving):
    stem = pathlib.Path(name).stem
    show(page, lab, name)
    page.evaluate(WATCH)
    choose(page, "Run", "Run All Cells")
    if moving:
        page.wait_for_function(MOVING, timeout=LIVE_MOVES)
        page.evaluate(TO_RUNNING)
        picture(page, pictures / f"{stem}-running.png")
    page.wait_for_function(DONE, timeout=CELLS_RUN)
    ran = page.evaluate("window.cellsNow()")
    movements = page.evaluate("window.movements")
    choose(page, "File", "Save Notebook")
    page.wait_for_selector(".jp-mod-dirty", state="detached", timeout=CLICK)
    show(page, lab, name)
    count = sum(len(cell["outputs"]) for cell in ran)
    page.wait_for_function(SHOWN, arg=count, timeout=PAGE_LOAD)
    picture(page, pictures / f"{stem}.png", whole=True)
    loaded = page.evaluate("window.cellsNow()")
    seen = {"notebook": name, "ran": ran, "movements": movements, "loaded": loaded}
    print(json.dumps(seen), flush=True)


def main():
    browser, folder, pictures, *notebooks = sys.argv[1:]
    pictures = pathlib.Path(pictures)
    with opened(browser, folder, pictures) as (page, lab):
        for name in notebooks:
            run(page, lab, name, pictures, moving=name == notebooks[-1])


if __name__ == "__main__":
    main()
