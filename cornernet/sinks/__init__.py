"""Where `predict` puts what it finds: one form a file, each with `write(found)` and `close()`.

Start with choose.py, which opens those that were asked for. A new one: a file here, a name in `FORMS`.
"""
