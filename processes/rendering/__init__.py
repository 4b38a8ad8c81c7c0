"""Reports and graphs as text and HTML."""
