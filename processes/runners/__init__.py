"""The runners: one module each."""
