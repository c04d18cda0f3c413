"""`python -m cornernet` and `torchrun -m cornernet` are the `cornernet` command."""

from cornernet.cli import app

app(prog_name="cornernet")
