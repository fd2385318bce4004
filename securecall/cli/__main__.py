"""Lets `python -m securecall.cli` stand for the installed command."""

from securecall.cli.main import main

if __name__ == "__main__":
    main()
