"""What the tasks share, in the order the data flows.

observations   a half set's images as band-limited spectra with CTF and pose, read once
gaussians      the consensus: Gaussians with positions, amplitudes and widths
control_points vector fields in space, held by their values at control points
displacement   latent -> displacement at any point of space (a sum of basis fields)
deformed       the Gaussians as each particle has them
backend        points -> images, and the like, with their adjoints: what compiled_loops (made of loops) and whole_tensors can do
density        Gaussians -> map
projection     points and amplitudes -> image spectra
poses          each particle's refined pose, with its prior
parts          parts of the molecule that some particles lack
quality        how much of each image is the molecule at its pose
encoder        image spectra -> posterior of the latent
told           the latents that images tell of, and how far out a particle may be found
likelihood     of images, as a function of latents and poses, with its derivatives
ascent         from a guess to the nearest maximum of the posterior
representatives  a few states that stand for those of all particles
inference      the posterior worked out, where the encoder's guess is not enough
half_model     all of these for one half set; prediction of an image
principal_motions  the motions that make up most of all
common_state   one conformation as the consensus of both half sets
result         a finished (or interrupted) training as the later tasks see it
disagreement   of both halves' models about held-out particles
inverse_displacement   deformed position, latent -> consensus position
"""
