"""Flag of the additional-networks fake."""


def preload(parser):
    parser.add_argument(
        "--addnet-max-model-count", type=int, default=5, help="sdops lab fake: the number of networks at a time"
    )
