"""The rules for the second name of a job."""

from __future__ import annotations

from relion_jobs.contract.errors import UserError

FORBIDDEN = '*?()/"\\|#<>&%{}$'


def full_alias(text: str, type_directory: str) -> str:
    """Turn what a person typed into an alias as the pipeline holds it, e.g. ``DynaMight/my_run/``.

    Parameters
    ----------
    text
        ``my run`` or ``DynaMight/my_run/``; blanks become underscores.
    type_directory
        Directory of the job, e.g. ``DynaMight``.

    Raises
    ------
    UserError
        The alias breaks one of RELION's rules.
    """
    alias = "_".join(text.strip().removesuffix("/").removeprefix(type_directory + "/").split())
    bad = sorted(set(alias) & set(FORBIDDEN))
    if len(alias) < 2:
        problem = "is shorter than two characters"
    elif alias.startswith("job"):
        problem = "starts with 'job', which would be taken for a job number"
    elif bad:
        problem = "holds " + " ".join(bad)
    elif "None" in alias:
        problem = "holds the word None, which RELION takes for 'no alias'"
    elif set(alias) == {"."} or not alias.isprintable():
        problem = "is no name of a directory"
    else:
        return f"{type_directory}/{alias}/"
    raise UserError(f"The alias '{text}' {problem}; choose a name such as flexible_run.")
