"""Job types, each a plugin that relion_jobs finds by name, and what they share.

common      cryo-EM in torch: conventions, Fourier transforms, CTFs, particles, maps; knows no job type
dynamight   motions of flexible molecules: the main job
simulate    a flexible molecule with known motion, as test data
toy         the smallest job type, an example to copy (see README.md)
"""
