"""Flag of the adetailer stand-in."""


def preload(parser):
    parser.add_argument(
        "--ad-no-huggingface", action="store_true", help="sdops lab stand-in: it downloads nothing anyway"
    )
