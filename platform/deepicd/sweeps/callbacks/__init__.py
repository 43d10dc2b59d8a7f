"""Ray Tune's callbacks of a sweep: records, progress, budget, clean-up."""
