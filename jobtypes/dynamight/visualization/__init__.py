"""Seeing the motion, in a window or without one.

session           one half set opened: latents, main motions, states; free of Qt and napari
held_out          half-set 0: held-out particles as both halves' models see them
reductions        the latent space in two dimensions
colourings        what particles and Gaussians are coloured by
trajectories      smooth paths through points
states            the map of one state: Gaussians rendered, or a reconstruction carried along the field, by carry_loops
state_surfaces    the surface of a state, at once
regions           which part of the molecule moves by how much
selection         particles in a box, range or polygon -> STAR files
choice, subset    the command that chooses particles
saving            states and movies under the next free name
portraits         what draws a state
drawn_movie       the maps and pictures of a movie, drawn by all processes
movies, animation series of maps with a ChimeraX script; animated pictures
surface, figures, latent_drawing   pictures
rays              what a surface is drawn by, made of ray_loops
given_states, written_states       lists of states: what the user wants, what was written
validation        half-set 0 as figures and tables
to_files          everything that the window shows, as files
half_view, movie_paths, window   what the window shows; the only room with Qt and napari
landscape         how many particles are in which state
page              the same in one file, for a browser
task              window or files
"""
