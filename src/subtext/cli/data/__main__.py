"""`python -m subtext.cli.data`."""

import sys

from subtext.cli.data import main

sys.exit(main())
