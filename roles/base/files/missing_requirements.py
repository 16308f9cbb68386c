"""Print, as a JSON list, which of the requirements given as a JSON list are not met by the running interpreter.

Only what the toolbox list uses is understood: ``name==version`` with an optional ``python_version`` marker.
"""

import json
import re
import sys
from importlib import metadata

PIN = re.compile(r'^([A-Za-z0-9._-]+)==([^;\s]+)\s*(?:;\s*python_version\s*(>=|<)\s*"(\d+)\.(\d+)")?$')


def missing(requirements):
    result = []
    for requirement in requirements:
        match = PIN.match(requirement.strip())
        if not match:
            sys.exit(
                'base_toolbox_requirements: %r is not of the form name==version[; python_version >= "X.Y"]'
                % requirement
            )
        name, version, operator, major, minor = match.groups()
        if operator:
            newer = sys.version_info[:2] >= (int(major), int(minor))
            if newer != (operator == ">="):
                continue
        try:
            met = metadata.version(name) == version
        except metadata.PackageNotFoundError:
            met = False
        if not met:
            result.append(requirement)
    return result


print(json.dumps(missing(json.loads(sys.argv[1]))))
