"""`python -m splitpriv`."""

import sys

from splitpriv.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
