"""Doctor: checks of the site."""
