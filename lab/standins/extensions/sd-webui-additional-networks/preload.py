"""Flag of the additional-networks stand-in."""


def preload(parser):
    parser.add_argument(
        "--addnet-max-model-count", type=int, default=5, help="sdops lab stand-in: the number of networks at a time"
    )
