"""How many molecules are in which state.

likelihoods    what the images alone say of each particle
deconvolution  the density of the crowd, the widths of the likelihoods taken out
"""
