"""At which steps a sweep's scheduler compares trials."""

from deepicd.config import Experiment


def rungs(experiment: Experiment) -> list[int]:
    """Steps in order; empty without a scheduler. ASHA's are its grace period times powers of its
    reduction factor, the median rule's are the validations from its grace period on.
    """
    sweep, training = experiment.sweep, experiment.training
    if sweep.scheduler == "none":
        return []
    if sweep.scheduler == "median":
        steps = range(training.validate_every, training.total_steps, training.validate_every)
        return [step for step in steps if step >= sweep.grace_steps]
    found, step = [], sweep.grace_steps
    while step < training.total_steps:
        found.append(step)
        step *= sweep.reduction_factor
    return found
