"""The quality benchmark: our default beside baselines and ablations, written to docs/benchmarks.md."""
