"""`python -m spokeshave` is the command line."""

from spokeshave.cli.main import main

if __name__ == "__main__":
    main()
