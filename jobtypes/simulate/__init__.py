"""A flexible molecule with known motion: particles, project, truth and score.

A room of its own on purpose: it makes the data that the product is judged by, so it renders, applies CTFs and reconstructs
along a path of its own and borrows from `jobtypes.common` only transforms and files.

In the order the data flows:

options      presets and option values -> `SimulationOptions` (torch-free)
helices      bundles of alpha helices: pseudo-atoms at protein density
molecule     rigid core and arms -> `Molecule`
motion       hinged or bending arms -> paths of every atom -> `MovingModel`
geometry     poses: RELION angles, errors of poses
optics       microscope, defocus and CTF of every particle
render       exact Fourier sums over atoms -> images and maps
noise        white or coloured noise
reconstruct  slice insertion -> rigid maps
dataset      all of the above, chunk by chunk -> stacks and sums
files        stacks and STAR text
truth        the folder truth/: written by the task, read by the score
pictures     what the set looks like
task         the story of one job
*_measures   how well a result agrees with the truth: motion, latents, maps
sentences    a score in plain words
score        the command ``relion_jobs score``
demo         the command ``relion_jobs demo``: simulates, runs all tasks of dynamight, scores
"""
