"""``python -m landscape_fast.cli``."""

from landscape_fast.cli import main

if __name__ == "__main__":
    main()
