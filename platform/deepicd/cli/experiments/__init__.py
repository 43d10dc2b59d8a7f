"""Commands that take an experiment, or a run of one."""
