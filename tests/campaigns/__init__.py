"""Campaigns against the program: too long for every run of the tests, which take a sample of each.

crowd            many processes in one project at once (own_member, foreign_member)
kills            SIGKILL at every change of the disk that new, run, continue and a write of the pipeline make
fuzz             damaged files for every reader (mutations makes them, fuzz_reader reads them)
killed_training  a training killed and continued ends with the bytes of one that was left alone

``python -m tests.campaigns`` runs all of them in full and prints their figures.
"""
