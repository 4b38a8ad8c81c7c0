"""What watches runs: one module each."""
