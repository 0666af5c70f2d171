"""Inverse deformations: networks that map deformed positions back to the consensus, one per half set.

pairs                  deformed and consensus positions, made from the forward field
orthogonal_momentum    the optimiser
training               one half's training: an epoch, its error, when it has converged
accuracy               round trip in A, folding, and a fixed-point inversion as the reference
figures                loss curve and histogram of the round trip
task                   the story: load, train or resume, judge, write
deform                 tool: an atomic model carried to a state, along a path (model_path), or back; geometry: what became
                       of bonds
"""
