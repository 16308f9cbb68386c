"""Print, as a JSON list, which pins of a lock are not met by the running interpreter.

``missing_requirements.py JSON``: the list of the lock's lines without their hashes, ``name==version`` with an optional
``; marker``. Markers are judged by the library ``packaging``, as pip has it; where there is neither, everything is missing.
"""

import json
import sys
from importlib import metadata

try:
    from packaging.markers import Marker
except ImportError:
    try:
        from pip._vendor.packaging.markers import Marker
    except ImportError:
        Marker = None


def met(pin, marker):
    if marker.strip() and not Marker(marker.strip()).evaluate():
        return True
    name, _, version = pin.strip().partition("==")
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def missing(lines):
    if Marker is None:
        return lines
    return [line for line in lines if not met(*line.partition(";")[::2])]


print(json.dumps(missing(json.loads(sys.argv[1]))))
