"""Cryo-EM in torch, shared by the job types; knows none of them.

In the order in which data flows:

conventions      which axes, signs and units all of them use, said once
star_tables      the tables of a STAR file as text, for a million particles
small_tables     STAR files of our own; the only caller of starfile
optics_groups    microscope, pixel size and aberrations of particles
tomograms        tilt series of RELION 5: how frames see a tomogram
tilt_stacks      particles of tilt series: the rotation, shift and CTF of each of their images
moved_stacks     where image stacks lie now
repeats          particles that stand in a STAR file twice
particles        STAR file -> ParticleTable
particle_checks  what such a file must hold
copies           copies of one image count once
particle_matching  which particle of one STAR file is which of another
compressed       files that were packed: refused, with what unpacks them
image_stacks     image stacks on disk
cryosparc_uids   particles that came from cryoSPARC, and their uids there
grey_scale       rlnNormCorrection and noise levels: images on one scale
resampling       images on one grid, an anisotropic magnification taken out
particle_images  ParticleTable -> images, on one grid and one scale
ctf              the contrast transfer function; aberrations: its higher ones
rotations        Euler angles, matrices, small rotations
autograd         typed calls of torch's Function
products         of matrices, in which every number counts in full
fourier          transforms of images and maps, shells, FSC; the only caller of torch.fft
padded_grid      between the points of a padded Fourier grid
masks            with soft edges
volumes          maps with a pixel size
atomic_models    PDB and mmCIF files; the only caller of gemmi
agreement        whether poses, CTFs and map belong together
checkpoints      tensors, numbers and texts in one file
whole_files      files that appear whole or not at all
digests          names for what files hold
earlier_results  what another run sets aside
job_paths        a job that a person names to a tool; whether two names mean one file
devices          what a task computes on
durations        times to come, in words
memory           what is left of it
team             processes that share a task
shared_halves    which half sets and which device each of them has
share            whose particles are whose among them
"""
