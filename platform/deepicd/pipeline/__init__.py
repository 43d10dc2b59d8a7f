"""The whole loop, and everything that its commands ask for beside it.

loop        the stages in their order      stages      notes to scored models
run         one run's folder and lock      promotion   gate, registry, endpoint, late labels
operations  the endpoint while it runs     validation  what is refused beforehand
summary     what the run found             sweep_report  a sweep as one page
"""
