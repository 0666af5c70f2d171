"""Deformed reconstruction: half maps in which every particle's deformation is taken into account.

The road, in the order the data flows:

task                reads everything, says the plan, runs the stages, writes the results
settings            options as one frozen value
memory_plan         what it will need
inverse_field       the inverse networks, where they are wanted
half_problem        one half set: its particles, bins and deformations
bins                particles of like deformation
deformation_basis   the deformation field on the voxel grid
warp                one deformation as a linear operator, and its exact transpose
particle_pass       the one pass over the images
slices              Fourier slices into and out of a padded grid
sums_store          the sums, in memory and on disk
normal_equations    the least-squares problem; circulant, conjugate_gradients: its parts
reconstruction      the stages in order
verdict             which map is better, by the likelihood of held-out particles
outputs             maps, curves, figures: fsc_files, local_gain, figures
"""
