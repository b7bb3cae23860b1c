"""Opens executed notebooks as a reader does, who runs nothing, in JupyterLab's light and dark themes.

read.py BROWSER FOLDER PICTURES NOTEBOOK...

Prints one JSON line for each notebook and theme: how many pictures it has and how many of them are drawn, how many texts,
those with the least contrast, the levels of its headings, and its tables without header cells. Pictures are written to
PICTURES: of whole notebooks where CODE_DEPLOY_PICTURES says that somebody looks at them.
"""

import json
import os
import pathlib
import sys

from lab import CLICK, PAGE_LOAD, opened, picture, show

# The page takes the theme that its browser prefers.
ADAPTIVE = {"apputils-extension/themes": {"adaptive-theme": True}}
THEMES = {"light": "true", "dark": "false"}
THEME_SHOWN = "light => document.body.dataset.jpThemeLight === light"
RENDERED = ".jp-Notebook :is(.jp-MarkdownOutput, .jp-OutputArea-output)"
DRAWN = """
selector => {
    const pictures = [...document.querySelectorAll(`${selector} img`)];
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-MarkdownCell')];
    return pictures.every(one => one.complete && one.naturalWidth > 0)
        && cells.every(cell => cell.classList.contains('jp-mod-rendered') && cell.innerText.trim() !== '');
}
"""
READ = """
selector => {
    const all = what => [...document.querySelectorAll(selector)].flatMap(one => [...one.querySelectorAll(what)]);
    const texts = all('p, li, td, th, h1, h2, h3, h4, a, code, pre, strong, em')
        .filter(one => one.innerText.trim() !== '')
        .map(one => ({text: one.innerText.trim().slice(0, 60), contrast: window.contrastOf(one)}));
    const pictures = all('img');
    return {
        texts: texts.length,
        faintest: texts.sort((a, b) => a.contrast - b.contrast).slice(0, 3),
        pictures: pictures.length,
        drawn: pictures.filter(one => one.complete && one.naturalWidth > 0).length,
        levels: all('h1, h2, h3, h4, h5, h6').map(one => Number(one.tagName[1])),
        headless: all('table').filter(one => one.querySelector('th') === null).map(one => one.innerText.slice(0, 60)),
    };
}
"""


def main():
    browser, folder, pictures, *names = sys.argv[1:]
    pictures = pathlib.Path(pictures)
    whole = "CODE_DEPLOY_PICTURES" in os.environ
    with opened(browser, folder, pictures, ADAPTIVE) as (page, lab):
        for name in names:
            stem = pathlib.Path(name).stem
            page.emulate_media(color_scheme="light")
            show(page, lab, name)
            for theme, light in THEMES.items():
                page.emulate_media(color_scheme=theme)
                page.wait_for_function(THEME_SHOWN, arg=light, timeout=CLICK)
                page.wait_for_function(DRAWN, arg=RENDERED, timeout=PAGE_LOAD)
                read = page.evaluate(READ, RENDERED)
                picture(page, pictures / f"read-{stem}-{theme}.png", whole=whole)
                print(json.dumps({"notebook": name, "theme": theme} | read), flush=True)


main()
