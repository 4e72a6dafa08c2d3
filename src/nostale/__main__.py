"""python -m nostale."""

from nostale.cli import main

if __name__ == "__main__":
    main()
