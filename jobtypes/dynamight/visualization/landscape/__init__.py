"""How many molecules are in which state.

In the order the data flows:

likelihoods    what the images alone say of each particle
deconvolution  the density of the crowd, the widths of the likelihoods taken out
populations    that of both half sets along main motions, with errors
stable_states  its maxima, and how many particles belong to each
density_path   the densest way between two states
overview       all of these, of a job
tables, figures    as files
"""
