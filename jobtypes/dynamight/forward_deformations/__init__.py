"""Task "forward deformations": fits the model of each half set to its images.

In the order the data flows:

seeding     consensus map -> starting model
atomic_start  the same from an atomic model, if it lies in the map
schedule    what each epoch does: resolution, weights, learning rates
losses      likelihood, strain
neighbours  pairs of Gaussians whose distance the strain keeps, and how stiffly
noise       noise spectra from residuals
judging     the first look at the particles: quality, noise, scale
memory_use  what will fit into the memory
plan        what will be used, and refusal of bad input
agreement_figure, input_check  poses, CTFs and map against each other
preparation  images of a half set read, its model seeded
checkpointing  checkpoints, results set aside
continuation  going on from a checkpoint, or on another STAR file of the same particles
dealing     which particles a process owns, and the order of an epoch
training    a half set, epoch by epoch and batch by batch
step_sums   what the processes of a half set add up in a step
epoch_progress  how far an epoch is
large_motions  where hardly a particle is near the consensus: another one, and states found anew
retracing   states found anew, each from the one beside it
stiffness   the weight of the strain, as held-out particles ask for it
occupancy   the search for parts that some particles lack
pace        how a half set goes through its plan: on as soon as its held-out particles improve no more
rounds      work of both half sets that can be left anywhere, with a checkpoint after each round
epochs      all epochs of both half sets
posteriors  the last stage: latents and poses of all particles under the final model
enough_particles  what motions the particles bear, from what one image tells
timing      how long all that will take, measured on first batches
held_out_latents  what the other half's model makes of held-out particles
evidence    whether there is motion, by particles that a model was not trained on
beside_other  what held-out images say of a start from a model, beside one from the map
task        the story: read, seed, train, save
"""
