"""`python -m subtext.cli.replies`, where the console script is not installed."""

import sys

from subtext.cli.replies import main

sys.exit(main())
