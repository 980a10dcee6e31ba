"""What programs use beside tasks: locks, queues, variables, topics, datasets, actors, plugins.

One file a concept, with its halves in client, scheduler and worker; ``distributed.core.extensions`` says who serves
what. The scheduler's half is a pure book-keeping object and a thin shell that parks the calls of those who
wait.
"""
