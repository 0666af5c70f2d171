"""The e-mails of schemes: sent by the program that site.yaml names, and by nothing else."""

from __future__ import annotations

import re
import subprocess

from relion_jobs.ondisk.site import Site

# an address that begins with a dash would be an option of the program
_ADDRESS = re.compile(r"[\w.+][\w.+-]*(@[\w.-]+)?")
_SECONDS = 60


def send_mail(site: Site, address: str, subject: str, text: str) -> str:
    """Send an e-mail where the site says how; returns a sentence that says what was done. Nothing that goes wrong is an error.

    Parameters
    ----------
    site
        Its `mail_command` is called.
    address
        One address, or several with commas between.
    subject, text
        What is sent.
    """
    about = f"e-mail '{subject}' to {address}"
    if not site.mail_command:
        return f"No {about}: site.yaml names no mail_command."
    addresses = [one.strip() for one in address.split(",")]
    if (wrong := next((one for one in addresses if not _ADDRESS.fullmatch(one)), None)) is not None:
        return f"No {about}: '{wrong}' is no address."
    words = [*site.mail_command, "-s", subject, *addresses]
    try:
        done = subprocess.run(words, input=text, text=True, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"No {about}: {words[0]} cannot be run ({error.__class__.__name__})."
    if done.returncode:
        return f"No {about}: {words[0]} ended with exit code {done.returncode}."
    return f"Sent the {about}."
