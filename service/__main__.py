"""Runs the commands: `python -m service`."""

from service.cli import main

main()
