"""The lab's outside world: doubles of the services that a box downloads from. Standard library only, where it serves."""
