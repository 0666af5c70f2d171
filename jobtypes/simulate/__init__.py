"""A flexible molecule with known motion: particles, project, truth and score.

A room of its own on purpose: it makes the data that the product is judged by, so it renders, applies CTFs and reconstructs
along a path of its own and borrows from `jobtypes.common` only transforms and files.

In the order the data flows:

options      presets and option values -> `SimulationOptions` (torch-free)
helices      bundles of alpha helices: pseudo-atoms at protein density
molecule     rigid core and arms -> `Molecule`
motion       arms that hinge, bend, fold or turn -> paths of every atom -> `MovingModel`
dense_parts  a belt or a rod that is denser than protein, added to the model
states       how the particles lie between the ends of a motion
geometry     poses: RELION angles, side views, errors of poses
optics       microscope, defocus and CTF of every particle
tilts        particles in tilt series: frames, their images, the files of a tomography project
nuisances    what is wrong with which particle: shares -> `Plan`
render       exact Fourier sums over atoms -> images and maps
noise        white or coloured noise
strangers    what else an image shows: another molecule, a neighbour, a speck
reconstruct  slice insertion -> rigid maps
dataset      all of the above, chunk by chunk -> stacks and sums
files        stacks and STAR text
truth        the folder truth/: written by the task, read by the score
pictures     what the set looks like
task         the story of one job
results      files of a result: found, exported, read and checked
*_measures   how well a result agrees with the truth: motion, latents, maps, quality of particles
sentences    a score in plain words
score        the command ``relion_jobs score``
demo         the command ``relion_jobs demo``: simulates, runs all tasks of dynamight, scores
"""
