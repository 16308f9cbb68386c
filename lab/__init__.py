"""The lab: a small internet and rented boxes for the tests and the demo."""
