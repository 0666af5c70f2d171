"""Maps of states, made from the images of the particles around each state.

The road, in the order the data flows:

task            reads everything, says the plan, makes state after state, writes what they show
chosen          which states: along a main motion, clusters, listed ones
matching        the same state in the other half set, found by what it does to the density
kernel          what each particle counts for a state: its distance and how surely it is known
half_state      one half set seen from a state: its particles deformed to it, summed and solved
solved_maps     what an unfinished run has solved, on disk
width_choice    how wide the kernel is, by the half maps of one half against those of the other
region          where the molecule is, and where it moves
agreement       what half maps, model and plain particles say about a state
making          the stages of one state in order
outputs         maps, curves, table; figures: pictures

This room stands on two others: the operator is that of `backprojection`, the states are those of `visualization`.
"""
