"""The pool of worker processes.

    runner    ProcessPoolRunner: which worker gets which attempt, and what a death costs
    child     one worker as its parent sees it: process, socket, token pipe
    functions the functions of a run, each sent once to each worker
    shelf     the workers that wait for the next run
    boot      the first lines that a worker process runs; its guard
    worker    the loop of a worker process
    wire      the frames on the socket between both

Workers import this package, so it imports nothing.
"""
