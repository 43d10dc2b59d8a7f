"""GRPO by verl: one trial's configuration, trainer, data, and the driver of its process."""
