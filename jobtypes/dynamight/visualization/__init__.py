"""Seeing the motion: everything that can be shown of a job, without a window.

options      what the user chose
session      one half set opened: latents, main motions, states; free of Qt and napari
states       the map of one state: Gaussians rendered, or a reconstruction carried along the field
movies       states along a main motion; map series, ChimeraX scripts, animations
regions      which part of the molecule moves by how much
selection    particles by latent, motion, cluster or displacement -> STAR files
validation   the two halves' disagreement on particles that trained neither
surface      shaded pictures of a map
figures      figures of this task
task         the story: open, draw, write
"""
