"""RELION's schemes: graphs of jobs and operators in Schemes/NAME/, with variables, loops and forks.

From what is pure to what a person types; the first three know no files:

scheme_graph  Scheme: nodes, edges, forks, variables; every change returns a new Scheme
operators   what the operators take and compute, and what is wrong in a scheme
texts       what a scheme puts into the options of its jobs
scheme_star  Schemes/NAME/scheme.star <-> Scheme
project_files  touch, copy, move and delete as operators ask for it
mail        the e-mails of schemes
operator_runner  carries out the operators: files, time and the mailbox
node_jobs   from a node and its job.star to a Scheduled job of the project
foreign_node_jobs  the same for types that are not ours: relion_pipeliner adds and runs them
runner      from node to node until the scheme ends; takes up a run that died
commands    what each command of ``relion_jobs scheme`` does
"""
