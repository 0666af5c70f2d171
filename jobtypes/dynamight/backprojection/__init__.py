"""Deformed reconstruction: half maps in which every particle's deformation is taken into account.

The road, in the order the data flows:

task                reads everything, says the plan, runs the stages, writes the results
memory_plan         what it will need
time_plan           how long it will take
inverse_field       the inverse networks, where they are wanted
half_problem        one half set: its particles, their noise, bins and deformations
noise               power of the noise of each optics group, which weights the images, and of their CTFs
bins                particles of like deformation
deformation_basis   the deformation field on the voxel grid
part_fields         the parts that some particles lack on the voxel grid, and deformations of what is there
warp                one deformation as a linear operator, and its exact transpose
backend             what is done to voxels and Fourier terms: by compiled_loops (made of loops) on a CPU, whole_tensors on a GPU
particle_pass       the one pass over the images
slices              Fourier slices into and out of a padded grid; the positive operator that they make
ball, ball_transforms   the part of that grid that slices reach, and its transforms; ball_planes: plane by plane
sums_store          the sums, in memory and on disk
normal_equations    the least-squares problem; conjugate_gradients solves it
progress            how far they are, in all processes
reconstruction      the stages in order
fsc_mask            where half maps are compared
moving_part         whether the half maps agree where the molecule moves
verdict             which map is better, by the likelihood of held-out particles, and where the molecule moves
outputs             maps, curves, figures: fsc_files, local_gain, figures
"""
