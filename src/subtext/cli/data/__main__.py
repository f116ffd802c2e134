"""`python -m subtext.cli.data`."""

import sys

from subtext.cli.data import main

if __name__ == "__main__":
    sys.exit(main())
