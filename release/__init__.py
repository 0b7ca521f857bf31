"""What is made of a checkout for others: ``python -m release.bundle``."""
