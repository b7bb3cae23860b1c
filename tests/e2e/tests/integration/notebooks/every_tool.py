"""Executes the nine ready notebooks with every tool that Jupyter has for it, each notebook in kernels of its own.

every_tool.py FOLDER DONE

All work on one run: for each notebook another tool comes first and carries the phase out, those after it find it
done, and say so. Prints a line for each: notebook, tool, and how many of its cells said something. Notebooks
as they were executed are written to DONE.
"""

import os
import pathlib
import re
import subprocess
import sys

import nbformat
import papermill
from nbclient import NotebookClient

KERNEL = "code-deploy"
LIMIT = 300  # seconds
TOOLS = pathlib.Path(sys.executable).parent

# What stands before the output of each cell.
PROMPT = r"In \[\d+\]: "
EXECUTES = r"\[RunApp\] jupyter run: executing `.*`\n"

# `jupyter run` gives a cell ten seconds: it comes first where no cell takes longer.
FIRST = ["run", "nbconvert", "execute", "console", "papermill", "nbclient", "nbconvert", "papermill", "console"]


def cells_of(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def with_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    return sum(1 for cell in notebook.cells if cell.cell_type == "code" and cell.outputs)


def ran(command, folder, said=""):
    """Returns what a tool wrote, to both streams in the order of its writing: an error of a cell may go to either."""
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, input=said, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=LIMIT, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}: {done.returncode}\n{done.stdout}")
    return done.stdout


def that_say_something(outputs, tool):
    """Returns how many of the outputs say something. A console goes on behind a cell that failed, and ends well."""
    for output in outputs:
        if "error[" in output:
            raise SystemExit(f"a cell failed in jupyter {tool}:\n{output}")
    return sum(1 for output in outputs if output.strip())


def nbclient(path, done):
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=LIMIT, kernel_name=KERNEL, resources=where).execute()
    nbformat.write(notebook, done)
    return with_outputs(done)


def by_papermill(path, done):
    papermill.execute_notebook(
        str(path), str(done), cwd=str(path.parent), kernel_name=KERNEL, progress_bar=False
    )
    return with_outputs(done)


def nbconvert(path, done):
    words = ["--to", "notebook", "--execute", f"--ExecutePreprocessor.kernel_name={KERNEL}"]
    words += [f"--ExecutePreprocessor.timeout={LIMIT}", "--output-dir", done.parent, "--output", done.name]
    ran([TOOLS / "jupyter-nbconvert", *words, path], path.parent)
    return with_outputs(done)


def execute(path, done):
    # It writes beside the notebook, wherever it is told to.
    copy = path.with_name(f"executed-{path.name}")
    output = copy.with_suffix("").name
    ran([TOOLS / "jupyter-execute", f"--kernel_name={KERNEL}", f"--output={output}", path], path.parent)
    written = path.with_name(output) if path.with_name(output).exists() else copy
    written.rename(done)
    return with_outputs(done)


def run(path, done):
    files = []
    for number, source in enumerate(cells_of(path)):
        files.append(done.with_name(f"{path.stem}-{number}.txt"))
        files[-1].write_text(source)
    # Only its log tells where the output of a file begins.
    said = ran([TOOLS / "jupyter-run", "--debug", f"--kernel={KERNEL}", *files], path.parent)
    for file in files:
        file.unlink()
    return that_say_something(re.split(EXECUTES, said)[1:], "run")


def console(path, done):
    sources = cells_of(path)
    said = ran(
        [TOOLS / "jupyter-console", f"--kernel={KERNEL}", "--simple-prompt"],
        path.parent,
        "".join(f"{source}\n" for source in sources),
    )
    # A prompt stands before each input, and another before the end.
    return that_say_something(re.split(PROMPT, said)[1:-1], "console")


def main():
    folder, done = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tools = {
        "nbclient": nbclient, "papermill": by_papermill, "nbconvert": nbconvert,
        "execute": execute, "run": run, "console": console,
    }  # fmt: skip
    for path, first in zip(sorted(folder.glob("0*.ipynb")), FIRST, strict=True):
        others = [name for name in tools if name != first]
        for name in [first, *others]:
            said = tools[name](path, done / f"{path.stem}-{name}.ipynb")
            print(path.stem, name, said, len(cells_of(path)), flush=True)


main()
