"""Records → one HTML file that needs no network and no server, and whose numbers are those handed
in.

    page         sections of text, tables and figures → HTML
    run          a whole run's report                  sweep     a sweep's report
    record       what a sweep left, as plain values    answer    its question, and what it says
    leaderboard  every trial                           factors   two groups and their difference
    curves       lines by GRPO step                    front     objectives, and who is best in all
    parameters   values against scores, importance     ladder    who was stopped, and where
    surface      the score over two of them            costs     seconds and GPU-hours
"""
