"""sdops lab fake: an install script that fails."""

import sys

sys.exit("broken-script: the server that it wants is gone")
