"""The window: napari for the molecule, a matplotlib canvas for the latent space. The only room that imports Qt and napari.

availability     can a window be opened here, and if not, why, in one sentence
system_libraries which libraries of the system Qt lacks, and the Debian packages that have them
background       work in a thread, with a progress bar and a cancel button
molecule_layers  the molecule as napari layers
latent_canvas    the latent space: click, trajectory, selection
populations_canvas  populations along the first main motion
controls         buttons, sliders and menus
saved_files      what the window writes, free of Qt
explorer         all of it put together, driving a session
opening          open the window for a job, wait until it is closed
"""
