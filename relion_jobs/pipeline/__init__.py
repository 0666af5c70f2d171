"""The graph of jobs and files, pure: no files, no clock, no processes.

graph     Pipeline: processes, nodes, edges, next job number; every change returns a new Pipeline
same_files  every file of it under one name
deletion  cutting jobs out of the graph, and putting them back
foreign   tables and columns that others wrote, kept without understanding them
alias     the rules for the second name of a job
schedule  which scheduled job may start now, which must wait, and why
"""
