"""The pool of worker processes; docs/architecture.md tells how it works, and what its modules are for.

Workers import this package, so it imports nothing.
"""
