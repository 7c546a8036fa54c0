"""``python -m gradlab``: the command if its script is not on the path."""

from gradlab.command.main import main

if __name__ == "__main__":
    main()
