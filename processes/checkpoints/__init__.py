"""Results saved from run to run: what tasks are made of, the file, and who saves."""
