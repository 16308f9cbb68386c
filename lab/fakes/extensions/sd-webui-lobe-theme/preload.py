"""Flag of the lobe-theme fake."""


def preload(parser):
    parser.add_argument("--lobe-debug", action="store_true", help="sdops lab fake: log to the browser's console")
