"""Lets `python -m securecall` stand for the installed command."""

from securecall.cli.main import main

if __name__ == "__main__":
    main()
