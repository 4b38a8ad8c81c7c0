"""What ``processes demo`` runs: a CPU-bound pipeline over the standard library's own source files."""
