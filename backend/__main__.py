"""`python -m backend` is the `nuan` command."""

from backend.cli import main

main()
