"""Whether poses, CTFs and map belong together: particles are compared with CTF-applied projections of the map, shell by shell.

In the order the data flows:

samples       particle table -> terms of a few hundred images, whitened
readings      one way to take the inputs; what it predicts for each image
alternatives  other ways to take them: what goes wrong between programs
comparison    images and predictions -> agreement per particle and shell
displacement  where the map would have to be
search        which way fits each optics group
findings      what that means, in words
"""
