"""The whole loop, and everything that its commands ask for beside it.

loop          the stages in their order
run           one run's folder, lock and stage times
stages        notes to scored models
promotion     gate, registry, endpoint, late labels
operations    the endpoint while it runs
evaluation    one model's scores, one answer's reward
validation    what is refused beforehand
planning      what a sweep would do and cost
summary       what the run found
sweep_report  a sweep as one page
eta           how long the rest will take
"""
