"""What the paper claims, held against real searches and real measurements: `python -m benchmarks.claims`."""
