"""Helps, stops, restarts, leaves and steers as a person does: JupyterLab's keys and buttons, in its dark theme.

steer.py BROWSER FOLDER PICTURES NOTEBOOK

Prints one JSON line with what was shown at each step. The notebook has a cell for each of SOURCES.
"""

import hashlib
import json
import pathlib
import re
import sys
import time

from playwright.sync_api import TimeoutError as NotSeen

from lab import CELLS_RUN, CLICK, LIVE_MOVES, PAGE_LOAD, choose, opened, show
from run_all import SHOWN

DARK = {"apputils-extension/themes": {"theme": "JupyterLab Dark"}}
BEFORE_TRAFFIC = ["%code-deploy dev local --yes", "%inventory", "%plan"]
BEFORE_TRAFFIC += ["%preflight", "%build", "%provision", "%migrate"]
TRAFFIC_MOVES = "index => /traffic now/i.test(window.cellsNow()[index].outputs[0] ?? '')"
OTHER_TEXT = "([index, text]) => (window.cellsNow()[index].outputs[0] ?? '') !== text"
ENDED = "index => (cell => /^\\[\\d+\\]:$/.test(cell.prompt) && !cell.blank)(window.cellsNow()[index])"
# What is run within a moment of a cell that failed counts as sent with it: it is not run, and its prompt is empty again.
NOT_RUN = "index => window.cellsNow()[index].prompt === '[ ]:'"
SETTLED = f"index => ({ENDED})(index) || ({NOT_RUN})(index)"
BEGUN = "index => window.cellsNow()[index].prompt === '[*]:'"
CHARTED = "([index, before]) => (live => !['', before].includes(live.chart) && live)(window.liveNow(index))"
DARK_SHOWN = "document.body.dataset.jpThemeLight === 'false'"
READABLE = """
elements => elements.filter(element => element.innerText.trim() !== '')
    .map(element => [element.innerText.trim().slice(0, 60), window.contrastOf(element)])
"""
# The step of the release at which the run stays for longer than a person needs.
LONG_STEP = "release.traffic.50"
CELL = ".jp-Notebook .jp-CodeCell"
CONSOLE = ".jp-CodeConsole"
PROMPT_EMPTY = "!document.querySelector('.jp-CodeConsole-promptCell .cm-content')?.innerText.trim()"
# How often a line is sent that the console did not take, and how long that may take, in milliseconds.
TRIES = 3
TAKEN = 10_000
CONSOLE_SAID = """
count => {
    const cells = [...document.querySelectorAll('.jp-CodeConsole-content .jp-CodeCell')];
    const last = cells.at(-1);
    if (cells.length !== count || !/^\\[\\d+\\]:$/.test(last.querySelector('.jp-InputPrompt').innerText.trim())) return false;
    const outputs = [...last.querySelectorAll('.jp-OutputArea-output')];
    return outputs.length > 0 && !outputs.some(window.isBlank);
}
"""
CONSOLE_DRAWN = """
() => {
    const last = [...document.querySelectorAll('.jp-CodeConsole-content .jp-CodeCell')].at(-1);
    const pictures = [...last.querySelectorAll('.jp-OutputArea-output img')];
    return pictures.filter(picture => picture.complete && picture.naturalWidth > 0).length;
}
"""


def digest(content):
    return hashlib.sha256(content).hexdigest()


def steps_begun(folder):
    """Returns the steps that the record of the last run says were begun, in order."""
    journal = max(pathlib.Path(folder, ".code-deploy/runs").glob("*/journal.jsonl"))
    return re.findall(r'"kind":"step_intended","step":"([^"]+)"', journal.read_text())


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

    def cell(self, index):
        return self.page.locator(CELL).nth(index)

    def into(self, source):
        """Puts the cursor at the end of that cell."""
        self.cell(self.index(source)).locator(".cm-content").click(timeout=CLICK)
        self.page.keyboard.press("End")

    def begin(self, source):
        index = self.index(source)
        self.into(source)
        self.page.keyboard.press("Shift+Enter")
        return index

    def run(self, source):
        """Runs a cell to its end; returns what it shows."""
        index = self.begin(source)
        self.page.wait_for_function(SETTLED, arg=index, timeout=CELLS_RUN)
        if self.page.evaluate(NOT_RUN, index):
            self.begin(source)
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

    def charted(self, index, before, name):
        """Returns what the display of a running cell shows once its chart is another than before, with a digest of its
        picture."""
        shown = self.page.wait_for_function(CHARTED, arg=[index, before], timeout=LIVE_MOVES).json_value()
        area = self.cell(index).locator(".jp-Cell-outputArea")
        drawn = area.screenshot(path=self.pictures / f"steer-display-{name}.png", timeout=CLICK)
        return shown | {"drawn": digest(drawn)}

    def chart_moves(self, index):
        """Returns what the display of a running cell shows with one chart and with the next."""
        first = self.charted(index, "", "first")
        second = self.charted(index, first["chart"], "second")
        return [state | {"chart": digest(state["chart"].encode())} for state in [first, second]]

    def readable(self, within, selector):
        """Returns texts of outputs with their contrast, and whether the theme is a light one."""
        texts = within.locator(".jp-OutputArea-output").locator(selector).evaluate_all(READABLE)
        return {"light": self.page.evaluate("document.body.dataset.jpThemeLight"), "texts": texts}

    def save(self):
        """Saves, also while a cell runs, whose display makes the page one that is not saved at once."""

        def is_saved(answer):
            return answer.request.method == "PUT" and "/api/contents/" in answer.url

        with self.page.expect_response(is_saved, timeout=CLICK):
            choose(self.page, "File", "Save Notebook")

    def button(self, name):
        self.page.locator(f'.jp-NotebookPanel-toolbar [data-jp-item-name="{name}"]').click(timeout=CLICK)

    def idle(self):
        self.page.get_by_text("code-deploy | Idle").first.wait_for(timeout=CELLS_RUN)

    def picture(self, name):
        # The page takes its theme by itself, some time after it is there.
        self.page.wait_for_function(DARK_SHOWN, timeout=CLICK)
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
        for _ in range(TRIES):
            prompt.press("Shift+Enter", timeout=CLICK)
            # The notebook may take the focus back just before the key, and then the console has not run anything.
            if self.is_taken():
                break
        self.page.wait_for_function(CONSOLE_SAID, arg=self.asked, timeout=CELLS_RUN)
        cell = self.page.locator(f"{CONSOLE}-content .jp-CodeCell").last
        return cell.locator(".jp-OutputArea-output").all_inner_texts()

    def is_taken(self):
        """Returns whether the console takes what stands at its prompt: an empty one comes in its place."""
        try:
            self.page.wait_for_function(PROMPT_EMPTY, timeout=TAKEN)
        except NotSeen:
            return False
        return True

    def pictures_drawn(self):
        """Returns how many pictures the last answer of the console shows, once it shows one."""
        return self.page.wait_for_function(CONSOLE_DRAWN, timeout=CLICK).json_value()


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
    error = notebook.readable(notebook.cell(notebook.index("%stauts")), "p, b, code")
    return {"offered": offered, "tooltip": tooltip, "helped": helped, "misspelt": misspelt, "error": error}


def stop_and_restart(notebook):
    index, states = notebook.until_traffic_moves("%release")
    moving = notebook.chart_moves(index)
    notebook.picture("running")
    notebook.button("interrupt")
    notebook.page.wait_for_function(ENDED, arg=index, timeout=CELLS_RUN)
    stopped = notebook.cells()[index]["outputs"]
    notebook.picture("stopped")
    pause = notebook.readable(notebook.cell(index), "p, b, th, td")
    notebook.button("restart")
    notebook.page.locator(".jp-Dialog .jp-mod-accept").click(timeout=CLICK)
    notebook.page.locator(".jp-Dialog").wait_for(state="detached", timeout=CLICK)
    notebook.idle()
    return {"states": states, "moving": moving, "stopped": stopped, "pause": pause}


def elsewhere(notebook, lab, name):
    """Returns what a second page on the same notebook says of a cell that runs, and closes it."""
    page = notebook.page.context.browser.new_page(viewport=notebook.page.viewport_size)
    # Loaded anew, a page is told no less than when it was opened.
    for _ in range(2):
        show(page, lab, name, state="Busy", workspace="elsewhere")
    second = Notebook(page, notebook.pictures)
    second.open_console()
    said = second.ask("%status")
    second.picture("elsewhere")
    page.close()
    return said


def until_long_step(page, folder):
    """Waits until the run is at the step at which it stays, which nothing on an empty page tells."""
    end = time.monotonic() + LIVE_MOVES / 1000
    while steps_begun(folder)[-1] != LONG_STEP:
        if time.monotonic() > end:
            raise TimeoutError(f"the run was not at {LONG_STEP} within {LIVE_MOVES} ms after its page was closed")
        page.wait_for_timeout(50)


def outputs_above(cells):
    """Returns what the cells show that ran before the release; not their numbers, which begin anew with a kernel."""
    return [
        {part: cell[part] for part in ["source", "outputs", "failed", "drawn"]}
        for cell in cells
        if cell["source"] != "%release"
    ]


def closed_and_opened(notebook, lab, name, folder):
    """Closes the page while its last cell runs, and opens another when the run has moved on; returns that one, the
    step at which the first was closed, and what the cells above show in both."""
    page = notebook.page.context.browser.new_page(viewport=notebook.page.viewport_size)
    notebook.save()
    cells = notebook.cells()
    left = steps_begun(folder)[-1]
    notebook.page.close()
    until_long_step(page, folder)
    show(page, lab, name, state="Busy")
    count = sum(len(cell["outputs"]) for cell in cells)
    page.wait_for_function(SHOWN, arg=count, timeout=PAGE_LOAD)
    second = Notebook(page, notebook.pictures)
    return second, left, {"before": outputs_above(cells), "after": outputs_above(second.cells())}


def leave_and_roll_back(notebook, lab, name, folder):
    joined = notebook.run("%code-deploy dev local --yes")
    notebook.until_traffic_moves("%release")
    notebook, left, kept = closed_and_opened(notebook, lab, name, folder)
    notebook.open_console()
    status = notebook.ask("%status")
    notebook.picture("status")
    facts = notebook.readable(notebook.page.locator(f"{CONSOLE}-content"), "th, td")
    notebook.ask("%chart health")
    charts = notebook.pictures_drawn()
    notebook.picture("chart")
    second = elsewhere(notebook, lab, name)
    asked = notebook.ask('%rollback --reason "customers see old prices"')
    notebook.idle()
    after = notebook.ask("%status")
    notebook.picture("rolled-back")
    return {
        "joined": joined, "left": left, "kept": kept, "status": status, "facts": facts, "charts": charts,
        "elsewhere": second, "asked": asked, "after": after,
    }  # fmt: skip


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
        seen |= leave_and_roll_back(notebook, lab, name, folder)
        print(json.dumps(seen), flush=True)


main()
