"""Flag of the lobe-theme stand-in."""


def preload(parser):
    parser.add_argument("--lobe-debug", action="store_true", help="sdops lab stand-in: log to the browser's console")
