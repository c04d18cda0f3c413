"""The verbs of the command line, one module each: `cornernet <verb>` runs `cornernet.commands.<verb>`.

Start with predict.py. A module has its verb's name, which may be that of the file doing the work (train, build).

A module here is imported whenever the list of verbs is shown, so it imports nothing heavy at its top (no torch, onnx,
OpenCV or numpy; a test checks). It provides:

* a docstring, whose first line is the verb's line in `cornernet --help`;
* `run(...)`, a typer function; its docstring is the help text. Heavy imports go inside. A verb with verbs of its own
  provides `app`, a typer group, instead;
* `EXAMPLES`, complete command lines shown below the help, one a line (`#` starts a comment line).

Expected failures are raised as `CornerNetError` or `OSError`; `cornernet.cli` prints them as one line and exits with 1.
"""
