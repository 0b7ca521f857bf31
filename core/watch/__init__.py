"""Following folders and logs live, on local and on network file systems."""
