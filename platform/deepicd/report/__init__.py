"""Reports of runs and sweeps: records → one HTML file that needs no network and no server.

Every number in a report is one that was handed in, or computed here from those.

    html          sections of text, tables and figures → HTML
    run           a whole run's report
    sweep         a sweep's report
    sweep_data    what a sweep left, as plain values
    answer        the experiment's question, and what the trials say to it
    factors       two groups of trials and their difference
    leaderboard   every trial
    curves        lines by GRPO step
    parameters    values against scores, importance
    contour       the score over two parameters
    pareto        objectives, and the trials on the Pareto front
    early_stopping  which trials were stopped, and where
    costs         seconds and GPU-hours
"""
