"""Whether machines can do the work: facts of every node → one line a check, with the way out.

facts           what is known of a node, as plain values
machine         reads them from the machine that this process runs on
all_reduce      a program: a second of sums between all nodes
kernels         a program: whether torch and vLLM compute attention here
node_checks     facts of one node → checks
network_checks  facts of one node's network and its token → checks
cluster_checks  facts of all nodes → checks
examination     the whole, for `deepicd doctor` and before a run
"""
