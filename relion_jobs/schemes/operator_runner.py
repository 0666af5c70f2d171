"""Carries out the operators of a scheme.

What needs variables only is computed by `relion_jobs.schemes.operators`; here are files, time and the mailbox.

Source: RELION 5's schemer. Departures: files are touched, copied, moved and deleted inside the project only, without a shell; the
time of the last ``wait`` and the end of ``exit_maxtime`` outlive a run that dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.star_column import count_rows, read_column
from relion_jobs.schemes import project_files, scheme_star
from relion_jobs.schemes.operators import SIGNATURES, compute, is_pure, of_column, value_of
from relion_jobs.schemes.scheme_graph import UNDEFINED, RunState, Scheme, Value, number
from relion_jobs.schemes.texts import real_paths, value_text

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class OperatorRunner:
    """The operators of the schemes of one project.

    Attributes
    ----------
    project
        Project directory.
    report
        Where sentences go.
    pause
        Waits that many seconds; raises where the scheme is to stop.
    mail
        Sends ``(address, subject, text)`` and returns a sentence.
    clock
        Seconds since 1970.
    """

    project: Path
    report: Callable[[str], None]
    pause: Callable[[float], None]
    mail: Callable[[str, str, str], str]
    clock: Callable[[], float] = time.time

    def perform(self, scheme: Scheme, run: RunState, node: str) -> tuple[Scheme, RunState] | None:
        """Carry out the operator of `node`.

        Returns
        -------
        tuple or None
            The scheme and the state of its run after it; None where the scheme ends here.

        Raises
        ------
        UserError
            A file, a column or a number is not what the operator needs; the message names the operator.
        """
        one = scheme.operators[node]
        signature = SIGNATURES[one.kind]
        inputs = self._inputs(scheme, node)
        if one.kind == "exit":
            self.report(f"{node}: the scheme has reached an exit point.")
            return None
        if one.kind == "exit_maxtime":
            return self._exit_maxtime(scheme, run, node, inputs)
        if one.kind == "wait":
            return self._wait(scheme, run, node, inputs)
        if not signature.output:
            try:
                self._act(scheme, node, inputs)
            except UserError as error:
                raise UserError(f"{scheme.name}: operator {node} ({one.kind}): {error}") from None
            return scheme, run
        value = compute(scheme, node, inputs) if is_pure(one.kind) else self._read(scheme, node, inputs)
        self.report(f"{node}: {one.output} = {_shown(value)}")
        return scheme.with_value(signature.output, one.output, value), run

    def _inputs(self, scheme: Scheme, node: str) -> list[Value]:
        one, signature = scheme.operators[node], SIGNATURES[scheme.operators[node].kind]
        given = (value_of(scheme, signature.input1, one.input1), value_of(scheme, signature.input2, one.input2))
        return [self._resolved(scheme, value) for value in given if value is not None]

    def _resolved(self, scheme: Scheme, value: Value) -> Value:
        if not isinstance(value, str):
            return value
        return real_paths(scheme, value, lambda name: scheme_star.read(self.project, name), strict=False)

    def _read(self, scheme: Scheme, node: str, inputs: Sequence[Value]) -> Value:
        """Return the value of an operator that looks at files."""
        one = scheme.operators[node]
        text = str(inputs[0])
        try:
            if one.kind == "bool=file_exists":
                return bool(text) and (self.project / text).exists()
            if one.kind == "string=glob":
                return ",".join(project_files.matching(self.project, text)) or UNDEFINED
            if one.kind == "float=count_images":
                table = str(inputs[1]) if len(inputs) > 1 else "particles"
                return float(count_rows(self.project / text, table)) if (self.project / text).exists() else 0.0
            place = float(inputs[1]) if len(inputs) > 1 else None
            column = self._column(text)
            if one.kind.endswith("=read_star"):
                return _element(column, place or 0, SIGNATURES[one.kind].output)
            return of_column(one.kind, [number(value, f"a value of {text}") for value in column], place)
        except UserError as error:
            raise UserError(f"{scheme.name}: operator {node} ({one.kind}): {error}") from None

    def _column(self, text: str) -> list[str]:
        words = text.split(",")
        if len(words) < 3:
            raise UserError(f"'{text}' must be of the form file,table,label.")
        column = read_column(self.project / words[0], words[1].removeprefix("data_"), words[2].removeprefix("_"))
        if not column:
            raise UserError(f"table data_{words[1]} of {words[0]} has no rows.")
        return column

    def _act(self, scheme: Scheme, node: str, inputs: Sequence[Value]) -> None:
        """Do what an operator without output does."""
        kind, names = scheme.operators[node].kind, [str(value) for value in inputs]
        remarks: Sequence[str] = ()
        if kind == "email":
            self._email(scheme, node, inputs)
        elif kind == "touch_file":
            project_files.touch(self.project, names[0])
        elif kind == "copy_file":
            remarks = project_files.copy(self.project, *names)
        elif kind == "move_file":
            remarks = project_files.move(self.project, *names)
        else:
            remarks = [f"deleted {name}" for name in project_files.delete(self.project, names[0])]
        self.report(f"{node}: {kind.replace('_file', '')} {' -> '.join(names)}" if kind != "email" else f"{node}: email")
        for remark in remarks:
            self.report(f"{node}: {remark}")

    def _email(self, scheme: Scheme, node: str, inputs: Sequence[Value]) -> None:
        one = scheme.operators[node]
        given = [name for name in (one.input1, one.input2) if name != UNDEFINED]
        lines = [time.ctime(self.clock()), *(f"{name} = {_shown(value)}" for name, value in zip(given, inputs, strict=True))]
        self.tell_by_mail(scheme, f"Scheme: {scheme.name}", "\n".join(lines) + "\n")

    def tell_by_mail(self, scheme: Scheme, subject: str, text: str) -> None:
        """Send an e-mail to the address in the string variable ``email``, as RELION does at the end of a scheme too."""
        if "email" in scheme.strings:
            self.report(self.mail(scheme.strings["email"].value, subject, text))

    def _wait(self, scheme: Scheme, run: RunState, node: str, inputs: Sequence[Value]) -> tuple[Scheme, RunState]:
        """Wait until the given seconds have passed since the last ``wait``; the first one only notes the time."""
        if run.waited_since:
            elapsed = max(0.0, self.clock() - run.waited_since)
            output = scheme.operators[node].output
            if output in scheme.floats:
                scheme = scheme.with_value("float", output, elapsed)
            seconds = float(inputs[0]) - elapsed
            self.report(f"{node}: {f'waits for {seconds:.0f} s' if seconds > 0 else f'{elapsed:.0f} s have passed, no wait'}")
            if seconds > 0:
                self.pause(seconds)
        return scheme, replace(run, waited_since=self.clock())

    def _exit_maxtime(self, scheme: Scheme, run: RunState, node: str, inputs: Sequence[Value]) -> tuple[Scheme, RunState] | None:
        """End the scheme the given hours after this operator was met first."""
        if not run.exit_at:
            run = replace(run, exit_at=self.clock() + float(inputs[0]) * _HOUR_SECONDS)
            self.report(f"{node}: the scheme ends after {time.ctime(run.exit_at)}.")
        elif self.clock() >= run.exit_at:
            self.report(f"{node}: the scheme has reached its end of time.")
            return None
        return scheme, run


def _element(column: Sequence[str], place: float, kind: str) -> Value:
    index = round(place)
    if not 0 <= index < len(column):
        raise UserError(f"row {index} was asked for (the first is 0), but there are {len(column)} rows.")
    text = column[index]
    if kind == "bool":
        if text not in ("0", "1"):
            raise UserError(f"'{text}' stands in row {index}, where 0 or 1 must be.")
        return text == "1"
    return number(text, f"the value of row {index}") if kind == "float" else text


def _shown(value: Value) -> str:
    return str(value) if isinstance(value, bool) else value_text(value)
