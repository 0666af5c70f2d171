"""E-mails go out through the program that site.yaml names, and only there."""

from __future__ import annotations

import stat

import pytest

from relion_jobs.ondisk.site import Site, read_site
from relion_jobs.running.registry import Registry
from relion_jobs.schemes.mail import send_mail
from relion_jobs.schemes.runner import SchemeRunner


@pytest.fixture
def mailer(tmp_path):
    """A program that keeps its arguments and its input."""
    program = tmp_path / "mailer"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/sent\ncat >> {tmp_path}/sent\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_without_a_configured_program_nothing_is_sent_and_it_says_so():
    assert send_mail(Site(), "me@lab.org", "S", "text") == "No e-mail 'S' to me@lab.org: site.yaml names no mail_command."


def test_the_program_of_site_yaml_gets_subject_address_and_text(tmp_path, mailer):
    (tmp_path / "site.yaml").write_text(f"mail_command: {mailer} --quiet\n")
    site = read_site(tmp_path, {})
    assert send_mail(site, "me@lab.org, you", "Scheme: $(x)", "it's done") == "Sent the e-mail 'Scheme: $(x)' to me@lab.org, you."
    assert (tmp_path / "sent").read_text() == "--quiet|-s|Scheme: $(x)|me@lab.org|you|it's done"


@pytest.mark.parametrize("address", ["-oProxy=x", "a b", "", "me@lab.org;reboot", "$(x)"])
def test_what_is_no_address_is_refused(tmp_path, mailer, address):
    assert "is no address" in send_mail(Site(mail_command=(str(mailer),)), address, "S", "text")
    assert not (tmp_path / "sent").exists()


@pytest.mark.parametrize(("command", "reason"), [("false", "exit code 1"), ("/nix/mail", "FileNotFoundError")])
def test_a_program_that_fails_is_no_error_of_the_scheme(command, reason):
    assert reason in send_mail(Site(mail_command=(command,)), "me", "S", "text")


def test_a_site_that_was_damaged_meanwhile_is_no_error_of_the_scheme(tmp_path):
    runner = SchemeRunner(tmp_path, "loop", Registry({}), lambda text: None)
    (tmp_path / "site.yaml").write_text("mail_command: mail -r 'the lab\n")
    said = runner._mail("me", "S", "text")
    assert said.startswith("No e-mail 'S' to me: The mail_command of ")
    assert "No closing quotation" in said
