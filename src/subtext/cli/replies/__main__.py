"""`python -m subtext.cli.replies`, where the console script is not installed."""

import sys

from subtext.cli.replies import main

if __name__ == "__main__":
    sys.exit(main())
