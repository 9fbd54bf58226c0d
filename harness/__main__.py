"""`python -m harness` is `muster`."""

from harness.cli import main

main()
