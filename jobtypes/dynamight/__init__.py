"""DynaMight flexibility: one deformation of one consensus per particle, and a map sharpened by them.

Source of the idea: Schwab, Kimanius, Burt, Dendooven and Scheres, "DynaMight: estimating molecular motions with improved
reconstruction from cryo-EM images", Nature Methods 21, 2024. The networks, the likelihood and the reconstruction are ours.

job.yaml, options.py, job.py   what the job asks: declared, as typed values of each task, and the job type itself
layout.py                      names of the folders and files in a job directory
model/                         what the tasks share
forward_deformations/          particles -> model of each half set
inverse_deformations/          model -> map from a state back to the consensus
backprojection/                particles, model -> deformed half maps
visualization/                 model -> states, motions, pictures
states/                        particles, model -> half maps of single states, on backprojection and visualization
colours.py                     what has which colour, in pictures and in the window
figures.py, motion_figures.py  pictures that several tasks draw
occupancy.py                   parts that some particles lack, as people see them
outputs.py, export.py          files for people and for other programs
"""
