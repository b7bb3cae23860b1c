"""nbclient, the engine of papermill and nbconvert: no output lost, and a failing cell ends the run.

iopub_timeout is raised because nbclient itself stops reading 4 s after a reply, however much is still on its way.
"""

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def run(book):
    return NotebookClient(book, kernel_name="echo", timeout=120, iopub_timeout=60).execute()


book = run(notebook("%prints 10000", "%flood 2000", "%live 50", "%update"))
text = "".join(output["text"] for output in book.cells[0].outputs)
assert text == "".join(f"{line}\n" for line in range(10000)), len(text)
assert [output["data"]["text/plain"] for output in book.cells[1].outputs] == [str(n) for n in range(2000)]
assert [output["data"]["text/plain"] for output in book.cells[2].outputs] == ["50"]
assert [output["data"]["text/plain"] for output in book.cells[3].outputs] == ["b"]

failing = notebook("%error boom", "%print never")
try:
    run(failing)
except CellExecutionError as error:
    assert "EchoError" in str(error)
else:
    raise AssertionError("the failing cell did not end the run")
assert failing.cells[1].outputs == []
