"""Flag of the adetailer fake."""


def preload(parser):
    parser.add_argument("--ad-no-huggingface", action="store_true", help="sdops lab fake: it downloads nothing anyway")
