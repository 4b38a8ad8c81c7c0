"""The runner on a cluster of dask.distributed.

The workers of the cluster import this package, so it imports nothing.
"""
