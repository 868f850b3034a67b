"""`python -m splitpriv.studies.tabular`."""

import sys

from splitpriv.studies.tabular.run import main
from splitpriv.types import UserError

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(*(f"splitpriv: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        sys.exit(2)
