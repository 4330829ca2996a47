"""`python -m ssld`, and the script that every rank of a run starts."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if __package__ in (None, ""):  # started by its path: the package's own folder must not shadow other modules
        sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from ssld.stopping import end_with_parent

    end_with_parent()  # before the imports, which take seconds
    from ssld.cli import main

    main()
