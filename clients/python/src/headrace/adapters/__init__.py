"""Other libraries: each is imported when it is used, never before."""
