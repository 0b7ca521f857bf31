"""Doctor: checks of the site. A check is a small function that yields findings; groups of them are data."""
