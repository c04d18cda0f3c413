"""The paper's analyses, each one command: `cornernet analyse`. Tables 1, 2, 3, 5 and 6, Figures 8, 9 and 10.

Start with observe.py, which runs a network and keeps its maps and boxes; each table and picture is one file beside it.
"""
