"""JupyterLab in a real browser, as a person uses it: its menus, keys and buttons.

What a failure means is for the caller to judge: only a wait that reached its limit, or a page that is
not there, ends with an error, which names the wait and holds the server's log.
"""

import contextlib
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import threading
import urllib.parse

from playwright.sync_api import sync_playwright

SERVER_START = 120  # seconds
PAGE_LOAD = 90_000  # milliseconds, as the others here
CELLS_RUN = 240_000
LIVE_MOVES = 120_000
CLICK = 30_000

# The cells of the open notebook, with what each shows. Progress is the first output of a cell. An output is
# put on the page before what it shows is drawn into it: until then it is blank.
CELLS = """
window.isBlank = output => output.innerText.trim() === '' && output.querySelector('img') === null;
window.cellsNow = () => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')].map(cell => {
    const outputs = [...cell.querySelectorAll('.jp-OutputArea-child .jp-OutputArea-output')];
    const pictures = [...cell.querySelectorAll('.jp-OutputArea-output img')];
    return {
        source: cell.querySelector('.cm-content')?.innerText.trim() ?? '',
        prompt: cell.querySelector('.jp-InputPrompt')?.innerText.trim() ?? '',
        outputs: outputs.map(output => output.innerText.trim()),
        blank: outputs.filter(window.isBlank).length,
        failed: outputs.some(output => /jupyter\\.(error|stderr)$/.test(output.dataset.mimeType ?? '')),
        pictures: pictures.length,
        drawn: pictures.filter(picture => picture.complete && picture.naturalWidth > 0).length,
    };
});
"""

# What the display of a running cell shows: its gates by name, and its chart.
LIVE = """
window.liveNow = index => {
    const cell = document.querySelectorAll('.jp-Notebook .jp-CodeCell')[index];
    const display = cell.querySelector('.jp-OutputArea-child .jp-OutputArea-output');
    const tables = [...display?.querySelectorAll('table') ?? []];
    const gates = tables.find(table => table.querySelector('th')?.innerText.trim() === 'Gate');
    return {
        prompt: cell.querySelector('.jp-InputPrompt').innerText.trim(),
        text: display?.innerText ?? '',
        gates: [...gates?.querySelectorAll('tbody tr') ?? []].map(row => row.cells[0].innerText.trim()),
        chart: display?.querySelector('img')?.src ?? '',
    };
};
"""

# How well text can be read: the ratio of WCAG 2. A background may let the one behind it through, and colours are
# written in many ways: a canvas mixes and reads them as the page does.
CONTRAST = """
window.contrastOf = element => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const paint = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); };
    const luminance = () => {
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255);
        const [red, green, blue] = parts.map(part =>
            part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const around = [];
    for (let one = element; one; one = one.parentElement) around.unshift(one);
    paint('white');
    around.forEach(one => paint(getComputedStyle(one).backgroundColor));
    const behind = luminance();
    paint(getComputedStyle(element).color);
    const text = luminance();
    return (Math.max(behind, text) + 0.05) / (Math.min(behind, text) + 0.05);
};
"""


class Lab:
    """A JupyterLab server of its own on a free port, which ends with the block."""

    def __init__(self, folder):
        self.lines = []
        self.url = None
        self.answered = threading.Event()
        self.token = secrets.token_hex(16)
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": "0",
            "ServerApp.allow_root": "True",
            "ServerApp.root_dir": folder,
            "LabApp.news_url": "None",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"JUPYTER_TOKEN": self.token},
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:([1-9]\d*)/", line)
            if found and self.url is None:
                self.url = found.group(0)
                self.answered.set()
        self.answered.set()

    def __enter__(self):
        self.answered.wait(SERVER_START)
        if self.url is None:
            self.__exit__(None, None, None)
            raise SystemExit(f"JupyterLab named no address within {SERVER_START} s:\n{self.log()}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.reader.join(10)

    def log(self):
        return "".join(self.lines)


def choose(page, menu, item):
    page.locator(f'.lm-MenuBar-itemLabel:text-is("{menu}")').click(timeout=CLICK)
    page.locator(f'.lm-Menu-itemLabel:text-is("{item}")').click(timeout=CLICK)


def show(page, lab, name, state="Idle", workspace=None):
    """Loads the notebook's page and waits until its kernel is ready for work, or in another state."""
    workspace = workspace or pathlib.Path(name).stem
    path = urllib.parse.quote(name)
    address = f"{lab.url}lab/workspaces/{workspace}/tree/{path}?token={lab.token}"
    page.goto(address, timeout=PAGE_LOAD)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=PAGE_LOAD)
    page.wait_for_selector(f".jp-Notebook-ExecutionIndicator[data-status={state.lower()}]", timeout=PAGE_LOAD)
    page.get_by_text(f"code-deploy | {state}").wait_for(timeout=PAGE_LOAD)
    # What an expression ends with is called where it is a function: only `cellsNow` needs no argument.
    page.evaluate(LIVE + CONTRAST + CELLS)


def picture(page, path, whole=False):
    """Draws what is on the screen, or the whole notebook."""
    if whole:
        size = page.viewport_size
        height = page.evaluate(
            "Math.max(...[...document.querySelectorAll('.jp-WindowedPanel-outer')].map(e => e.scrollHeight))"
        )
        page.set_viewport_size({"width": size["width"], "height": min(height + 200, 14_000)})
        page.screenshot(path=path)
        page.set_viewport_size(size)
    else:
        page.screenshot(path=path)


def settings(more):
    """Keeps every cell in the page, also where nobody looks, and the page off the network."""
    folder = pathlib.Path(os.environ["JUPYTERLAB_SETTINGS_DIR"])
    chosen = more | {
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    for name, values in chosen.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@contextlib.contextmanager
def opened(browser_path, folder, pictures, more=None):
    """A server and a page of it. An error tells what the page shows and what the server said."""
    pictures.mkdir(parents=True, exist_ok=True)
    settings(more or {})
    with Lab(folder) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        console = []
        page.on("pageerror", lambda error: console.append(str(error)))
        try:
            yield page, lab
        except Exception as error:
            # The page that was opened first may be closed by now.
            last = browser.contexts[-1].pages[-1]
            last.screenshot(path=pictures / "failure.png")
            shown = last.locator("body").inner_text()[-4000:]
            raise SystemExit(
                f"{error}\nThe page shows:\n{shown}\n"
                f"Errors of the page: {console}\nThe server said:\n{lab.log()}"
            ) from error
        browser.close()
