"""`python -m deepicd`: the console script without its launcher."""

from deepicd.cli import main

if __name__ == "__main__":
    main()
