"""The submission script of a job: RELION's template with its XXX...XXX placeholders filled in.

Source: RELION 5 (``RelionJob::saveJobSubmissionScript``). Departures: placeholders are filled in one pass, so that a value that
looks like a placeholder stays as it is, and no value is put where a shell would interpret it.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.trust import refuse_writable_by_all

_PLACEHOLDER = re.compile(r"XXX[A-Za-z0-9]+?XXX")
_COMMAND = "XXXcommandXXX"


def read_template(path: Path) -> str:
    """Read a template.

    Raises
    ------
    UserError
        It cannot be read, is no text, or can be changed by everybody.
    """
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise UserError(f"The template submission script {path} is no text file; name another in qsubscript.") from error
    except OSError as error:
        reason = str(disk_error(error, path, "read")).partition(": ")[2]
        raise UserError(
            f"Error reading template submission script in: {path}: {reason} Name one in qsubscript or RELION_QSUB_TEMPLATE."
        ) from error
    refuse_writable_by_all(path, "template of the submission script")
    return text


def placeholders(values: Mapping[str, object], name: str) -> dict[str, str]:
    """Texts for RELION's XXX...XXX placeholders but XXXcommandXXX.

    Parameters
    ----------
    values
        Options of the job.
    name
        Job directory with its slash.
    """
    processes, threads = _whole(values.get("nr_mpi")), _whole(values.get("nr_threads"))
    dedicated = _whole(values.get("min_dedicated"))
    texts = {
        "mpinodes": str(processes),
        "threads": str(threads),
        "cores": str(processes * threads),
        "dedicated": str(dedicated),
        "nodes": str(math.ceil(processes * threads / dedicated)),
        "name": name,
        "errfile": f"{name}run.err",
        "outfile": f"{name}run.out",
        "queue": str(values.get("queuename") or ""),
    }
    for variable, value in values.items():
        if match := re.fullmatch(r"qsub_(extra\d+)", variable):
            texts[match.group(1)] = str(value or "")
    return {f"XXX{key}XXX": text for key, text in texts.items()}


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def filled_template(template: str, texts: Mapping[str, str], command: str) -> str:
    """Fill in a submission script as RELION does.

    A line with XXXcommandXXX keeps what stands around it (``srun XXXcommandXXX``) only where the command holds ``relion_``,
    else the whole line becomes the bare command. A placeholder without a text stays. An empty line ends the script.

    Parameters
    ----------
    template
        Text of the template.
    texts
        Placeholder -> what takes its place.
    command
        The command, quoted for a shell.

    Raises
    ------
    UserError
        A text has a line break in it, or the template puts one with blanks or shell characters into a line that a shell runs;
        in comments, such as ``#SBATCH`` lines, these are allowed.
    """
    known = {**texts, _COMMAND: command}
    lines = []
    for number, line in enumerate(template.splitlines(), start=1):
        if _COMMAND in line and "relion_" not in command:
            lines.append(command)
            continue
        for placeholder in set(_PLACEHOLDER.findall(line)) & set(texts):
            _check(placeholder, texts[placeholder], line=line, number=number)
        lines.append(_PLACEHOLDER.sub(lambda match: known.get(match[0], match[0]), line))
    return "\n".join([*lines, "", ""])


def _check(placeholder: str, text: str, *, line: str, number: int) -> None:
    """Refuse a value that would do more in its line of the script than be a value."""
    if not text.isprintable():
        raise UserError(f"The value of {placeholder} is {text!r}, with a control character in it; take it out.")
    if not line.lstrip().startswith("#") and text and shlex.quote(text) != text:
        raise UserError(
            f"The value of {placeholder} is '{text}', and line {number} of the template would give its blanks or special "
            "characters to a shell; change the value, or move the placeholder to a comment such as an #SBATCH line."
        )
