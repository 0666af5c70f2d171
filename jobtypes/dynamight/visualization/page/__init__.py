"""One page that shows everything, in a browser, from one file.

contents     all that it holds, of one job
halves       of one half set: surfaces, network, particles, and its states in the other
surfaces     the consensus as surfaces, with the motions at their vertices
latent_space particles, their density, and the network from latents to motions
populations  how many particles are in which state
findings     what was found, in words
told         what the job has told of itself: log, curves, tables, figures
packing      arrays as text
assembling   content and browser/ -> one file, with the library that draws
command      relion_jobs_dynamight page
browser/     what runs in the browser: page.html, style.css, and modules that are joined

What the browser computes is what `model.half_model` does: latent -> coordinates along the main motions by the network, and the
vertices' displacement as the sum of the motions there times these.
"""
