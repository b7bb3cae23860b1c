"""Helps, stops, restarts and steers as a person does: JupyterLab's keys and buttons, in its dark theme.

steer.py BROWSER FOLDER PICTURES NOTEBOOK

Prints one JSON line with what was shown at each step. The notebook has a cell for each of SOURCES.
"""

import json
import pathlib
import sys
import time

from lab import CELLS_RUN, CLICK, LIVE_MOVES, PAGE_LOAD, opened, show

DARK = {"apputils-extension/themes": {"theme": "JupyterLab Dark"}}
BEFORE_TRAFFIC = ["%code-deploy dev local --yes", "%inventory", "%plan"]
BEFORE_TRAFFIC += ["%preflight", "%build", "%provision", "%migrate"]
TRAFFIC_MOVES = "index => /traffic now/i.test(window.cellsNow()[index].outputs[0] ?? '')"
OTHER_TEXT = "([index, text]) => (window.cellsNow()[index].outputs[0] ?? '') !== text"
ENDED = "index => (cell => /^\\[\\d+\\]:$/.test(cell.prompt) && !cell.blank)(window.cellsNow()[index])"
BEGUN = "index => window.cellsNow()[index].prompt === '[*]:'"
CONSOLE = ".jp-CodeConsole"
CONSOLE_SAID = """
count => {
    const cells = [...document.querySelectorAll('.jp-CodeConsole-content .jp-CodeCell')];
    const last = cells.at(-1);
    if (cells.length !== count || !/^\\[\\d+\\]:$/.test(last.querySelector('.jp-InputPrompt').innerText.trim())) return false;
    const outputs = [...last.querySelectorAll('.jp-OutputArea-output')];
    return outputs.length > 0 && !outputs.some(window.isBlank);
}
"""


class Notebook:
    def __init__(self, page, pictures):
        self.page = page
        self.pictures = pictures
        self.asked = 0
        self.subshells = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self.heard))

    def heard(self, frame):
        frame = frame if isinstance(frame, bytes) else frame.encode()
        self.subshells += b'"create_subshell_reply"' in frame

    def cells(self):
        return self.page.evaluate("window.cellsNow()")

    def index(self, source):
        return [cell["source"] for cell in self.cells()].index(source)

    def into(self, source):
        """Puts the cursor at the end of that cell."""
        cells = self.page.locator(".jp-Notebook .jp-CodeCell")
        cells.nth(self.index(source)).locator(".cm-content").click(timeout=CLICK)
        self.page.keyboard.press("End")

    def begin(self, source):
        index = self.index(source)
        self.into(source)
        self.page.keyboard.press("Shift+Enter")
        return index

    def run(self, source):
        """Runs a cell to its end; returns what it shows."""
        index = self.begin(source)
        self.page.wait_for_function(ENDED, arg=index, timeout=CELLS_RUN)
        return self.cells()[index]["outputs"]

    def until_traffic_moves(self, source):
        """Begins a cell and returns two different states of its live display."""
        index = self.begin(source)
        self.page.wait_for_function(BEGUN, arg=index, timeout=CLICK)
        self.page.wait_for_function(TRAFFIC_MOVES, arg=index, timeout=LIVE_MOVES)
        first = self.cells()[index]["outputs"][0]
        self.page.wait_for_function(OTHER_TEXT, arg=[index, first], timeout=LIVE_MOVES)
        return index, [first, self.cells()[index]["outputs"][0]]

    def button(self, name):
        self.page.locator(f'.jp-NotebookPanel-toolbar [data-jp-item-name="{name}"]').click(timeout=CLICK)

    def idle(self):
        self.page.get_by_text("code-deploy | Idle").first.wait_for(timeout=CELLS_RUN)

    def picture(self, name):
        self.page.screenshot(path=self.pictures / f"steer-{name}.png")

    def open_console(self):
        self.page.locator(".jp-Notebook").click(button="right", position={"x": 300, "y": 20}, timeout=CLICK)
        item = '.lm-Menu-itemLabel:text-is("New Subshell Console for Notebook")'
        self.page.locator(item).click(timeout=CLICK)
        self.page.wait_for_selector(f"{CONSOLE}-promptCell .cm-content", timeout=PAGE_LOAD)
        # Nothing on the page tells when the console has a subshell of its own.
        end = time.monotonic() + CLICK / 1000
        while not self.subshells:
            if time.monotonic() > end:
                raise TimeoutError(f"the console had no subshell within {CLICK} ms")
            self.page.wait_for_timeout(20)

    def ask(self, code):
        """Runs code in the console; returns what it shows."""
        self.asked += 1
        prompt = self.page.locator(f"{CONSOLE}-promptCell .cm-content")
        # Typed key by key, the rest of the line goes to the notebook when that takes the focus back, as it does some time after a reload.
        prompt.fill(code, timeout=CLICK)
        prompt.press("Shift+Enter", timeout=CLICK)
        self.page.wait_for_function(CONSOLE_SAID, arg=self.asked, timeout=CELLS_RUN)
        cell = self.page.locator(f"{CONSOLE}-content .jp-CodeCell").last
        return cell.locator(".jp-OutputArea-output").all_inner_texts()


def help_under_the_hand(notebook):
    page = notebook.page
    notebook.into("%pref")
    page.keyboard.press("Tab")
    page.wait_for_selector(".jp-Completer-item", timeout=CLICK)
    page.keyboard.press("Enter")
    page.wait_for_function("window.cellsNow().some(cell => cell.source === '%preflight')", timeout=CLICK)
    notebook.into("%status --")
    page.keyboard.press("Tab")
    page.wait_for_selector(".jp-Completer-item", timeout=CLICK)
    offered = page.locator(".jp-Completer-item").all_inner_texts()
    notebook.picture("completion")
    page.keyboard.press("Escape")
    notebook.into("%status --")
    page.keyboard.press("Shift+Tab")
    page.wait_for_selector(".jp-Tooltip", timeout=CLICK)
    tooltip = page.locator(".jp-Tooltip").inner_text()
    notebook.picture("tooltip")
    page.keyboard.press("Escape")
    helped = notebook.run("%status?")
    misspelt = notebook.run("%stauts")
    notebook.picture("help")
    return {"offered": offered, "tooltip": tooltip, "helped": helped, "misspelt": misspelt}


def stop_and_restart(notebook):
    index, states = notebook.until_traffic_moves("%release")
    notebook.picture("running")
    notebook.button("interrupt")
    notebook.page.wait_for_function(ENDED, arg=index, timeout=CELLS_RUN)
    stopped = notebook.cells()[index]["outputs"]
    notebook.picture("stopped")
    notebook.button("restart")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click(timeout=CLICK)
    notebook.page.locator(".jp-Dialog").wait_for(state="detached", timeout=CLICK)
    notebook.idle()
    return {"states": states, "stopped": stopped}


def elsewhere(notebook, lab, name):
    """Returns what a second page on the same notebook says of a cell that runs, and closes it."""
    page = notebook.page.context.browser.new_page(viewport=notebook.page.viewport_size)
    show(page, lab, name, state="Busy", workspace="elsewhere")
    second = Notebook(page, notebook.pictures)
    second.open_console()
    said = second.ask("%status")
    second.picture("elsewhere")
    page.close()
    return said


def reload_and_roll_back(notebook, lab, name):
    joined = notebook.run("%code-deploy dev local --yes")
    notebook.until_traffic_moves("%release")
    second = elsewhere(notebook, lab, name)
    show(notebook.page, lab, name, state="Busy")
    notebook.open_console()
    status = notebook.ask("%status")
    notebook.picture("status")
    asked = notebook.ask('%rollback --reason "customers see old prices"')
    notebook.idle()
    after = notebook.ask("%status")
    notebook.picture("rolled-back")
    return {"joined": joined, "elsewhere": second, "status": status, "asked": asked, "after": after}


def main():
    browser, folder, pictures, name = sys.argv[1:]
    pictures = pathlib.Path(pictures)
    with opened(browser, folder, pictures, DARK) as (page, lab):
        show(page, lab, name)
        notebook = Notebook(page, pictures)
        seen = help_under_the_hand(notebook)
        for source in BEFORE_TRAFFIC:
            notebook.run(source)
        seen |= stop_and_restart(notebook)
        seen |= reload_and_roll_back(notebook, lab, name)
        print(json.dumps(seen), flush=True)


main()
