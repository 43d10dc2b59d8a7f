"""One pipeline, entered anywhere, and everything that its commands ask for beside it.

loop          the stages in their order: run, train, sweep run, resume
stage         which stages there are, and what each follows from
run           one run in progress: its stages, each done once
folder        its folder: name, lock, command, parts of stages, what was spent
seal          what says that a stage is whole
cache         whole stages that other runs take over
stages        notes to a sweep's trials
candidates    the best of them, checked and scored
context       what else answered the same notes
promotion     lineage, gate, registry
deployment    the champion, served and asked
summary       what the run found
values        values of a stage as JSON
resources     memory or disk that ran out
validation    what is refused beforehand
planning      what a sweep would do and cost
operations    the endpoint while it runs
evaluation    one model's scores, one answer's reward
sweep_report  a sweep as one page
eta           how long the rest will take
"""
