"""Cryo-EM in torch, shared by the job types; knows none of them.

In the order in which data flows: `particles` (STAR -> ParticleTable), `particle_images` (stacks -> images), `ctf`, `rotations`,
`fourier` (the only caller of torch.fft), `masks`, `volumes` (maps with a pixel size), `checkpoints`, `devices`,
`memory` (what is left of it), `team` (processes that share a task), `job_paths`, `whole_files`, `digests`, `earlier_results`,
`small_tables` (STAR files of our own, the only caller of starfile).
`conventions` says once which axes, signs and units all of them use.
"""
