"""The eighteen notebooks as others make them: 54 charts by matplotlib, three in each notebook.

Usage: pages.py kernel|plain RECORD FOLDER
`kernel` has papermill execute one template eighteen times; `plain` draws in this process and writes the
notebooks with nbformat. Both read every sample of the outside client once for each notebook, as a notebook
that knows nothing of the others does. Prints seconds and the most memory in bytes: of this process and,
where it has papermill execute, of the largest kernel, which lives at the same time.
"""

import base64
import io
import json
import pathlib
import resource
import sys
import time

READ = '''
import json, pathlib
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

def read(record):
    seconds, counts, failed = [], [], []
    for line in open(pathlib.Path(record) / "samples" / "client.jsonl"):
        sample = json.loads(line)
        seconds.append(sample["second"])
        counts.append(sample["count"])
        failed.append(sum(sample.get("errors", {}).values()))
    return seconds, counts, failed

def draw(seconds, values, title):
    figure, axes = plt.subplots(figsize=(6.9, 3.15), dpi=200)
    axes.plot(seconds, values, linewidth=1)
    axes.set_title(title)
    axes.grid(True)
    return figure
'''

DRAW = '''
seconds, counts, failed = read(record)
for title, values in [("requests", counts), ("failed", failed), ("share", [f / max(c, 1) for f, c in zip(failed, counts)])]:
    draw(seconds, values, title)
    plt.show()
'''


def kernel(record, folder):
    import nbformat
    import papermill

    parameters = nbformat.v4.new_code_cell('record = ""', metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell("%matplotlib inline\n" + READ.replace('matplotlib.use("Agg")\n', "")), nbformat.v4.new_code_cell(DRAW)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    template = folder / "template.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), template)
    for number in range(18):
        papermill.execute_notebook(template, folder / f"{number}.ipynb", parameters={"record": str(record)}, progress_bar=False)
    template.unlink()


def plain(record, folder):
    import nbformat

    scope = {}
    exec(READ, scope)
    for number in range(18):
        seconds, counts, failed = scope["read"](record)
        share = [f / max(c, 1) for f, c in zip(failed, counts)]
        outputs = []
        for title, values in [("requests", counts), ("failed", failed), ("share", share)]:
            figure = scope["draw"](seconds, values, title)
            picture = io.BytesIO()
            figure.savefig(picture, format="png")
            scope["plt"].close(figure)
            data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
            outputs.append(nbformat.v4.new_output("display_data", data=data))
        cell = nbformat.v4.new_code_cell("draw()", outputs=outputs)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{number}.ipynb")


way, record, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
began = time.monotonic()
{"kernel": kernel, "plain": plain}[way](record, folder)
seconds = time.monotonic() - began
most = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
pictures = sum(path.read_text().count('"image/png"') for path in folder.glob("*.ipynb"))
print(json.dumps({"seconds": seconds, "bytes": most * 1024, "pictures": pictures}))
