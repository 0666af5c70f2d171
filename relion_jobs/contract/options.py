"""GUI parameters of a job type: declared in a YAML file, parsed from the text of job.star.

Every value in job.star is text. An `Option` says how that text is read. RELION drops the rows of job.star that it does not
know, so parameters of our own (``extra: true``) travel as flags inside RELION's `other_args` row.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import NO, YES

Kind = Literal["text", "file", "node", "integer", "number", "boolean", "choice"]
Active = Literal["always", "new", "continue"]
Value = str | int | float | bool | None

OTHER_ARGS = "other_args"


@dataclass(frozen=True)
class Option:
    """One parameter of a job type.

    Attributes
    ----------
    variable
        Name in job.star, e.g. ``nr_gaussians``.
    label, tab, help
        What the GUI shows.
    kind
        ``text``, ``file`` (a path), ``node`` (a path that becomes an input node), ``integer``, ``number``, ``boolean`` or
        ``choice``.
    default
        Text as in job.star; empty text means "not given" (parsed as None unless the kind is ``text``). A number or choice with a
        default may not be emptied.
    slider
        Ends and step of the GUI's slider: a hint, never a limit.
    minimum, maximum
        Hard limits of a number.
    choices
        Allowed texts of a ``choice``.
    required
        An empty value is an error.
    flag
        Spelling on the command line of the drop-in executable, e.g. ``--n-gaussians``; for a boolean its presence means Yes.
    aliases
        Further spellings; they may belong to several options, of which the one whose `tasks` name the running task wins.
    tasks
        Names of the tasks that use the option; empty: all.
    node_label
        Node type of a ``node``.
    active
        Whether the GUI greys the option out: active in ``new`` jobs only, on ``continue`` only, or ``always``.
    extra
        A parameter that RELION does not know: it travels in `other_args` under its flag.
    environment
        Environment variable that gives the default, as RELION's queue options have.
    """

    variable: str
    label: str
    tab: str
    kind: Kind
    default: str
    help: str
    slider: tuple[float, float, float] | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    flag: str | None = None
    aliases: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    node_label: str | None = None
    active: Active = "always"
    extra: bool = False
    environment: str | None = None

    def parse(self, text: str) -> Value:
        """Read the text of job.star as this option's type; UserError names the variable, the text and what would be right."""
        text = text.strip()
        if self.kind == "boolean":
            if text in (YES, NO):
                return text == YES
            raise self._wrong(text, f"{YES} or {NO}")
        if text == "":
            if self.required:
                raise UserError(f"Option {self.variable} ({self.label.strip()}) is empty; it must be given.")
            if self.kind in ("integer", "number", "choice") and self.default:
                name = f"{self.variable} ({self.label.strip()})"
                raise UserError(f"Option {name} is empty; it must be given, and its default is {self.default}.")
            return "" if self.kind == "text" else None
        if self.kind in ("integer", "number"):
            return self._number(text)
        if self.kind == "choice" and text not in self.choices:
            raise self._wrong(text, "one of " + ", ".join(self.choices))
        return text

    def checked(self, value: Value) -> Value:
        """A value that did not come as text, held to the rules of one that did; UserError as of `parse`."""
        return self.parse(text_of(value))

    def _number(self, text: str) -> int | float:
        expected = "a whole number" if self.kind == "integer" else "a number"
        try:
            value = float(text)
        except ValueError:
            raise self._wrong(text, expected) from None
        if not math.isfinite(value) or (self.kind == "integer" and value != int(value)):
            raise self._wrong(text, expected)
        if self.minimum is not None and value < self.minimum:
            raise self._wrong(text, f"{expected} of at least {self.minimum:.12g}")
        if self.maximum is not None and value > self.maximum:
            raise self._wrong(text, f"{expected} of at most {self.maximum:.12g}")
        return int(value) if self.kind == "integer" else value

    def _wrong(self, text: str, expected: str) -> UserError:
        return UserError(f"Option {self.variable} ({self.label.strip()}) is '{text}'; it must be {expected}.")


def text_of(value: Value) -> str:
    """A value as it stands in job.star, from where `Option.parse` reads it back."""
    if isinstance(value, bool):
        return YES if value else NO
    return "" if value is None else str(value)


def read_options(path: Path) -> tuple[Option, ...]:
    """Read the options that a job type declares in a YAML file: a list of mappings whose keys are `Option`'s fields.

    Raises
    ------
    ValueError
        The declaration itself is wrong (the plugin author's mistake, not the user's).
    """
    import yaml

    options = []
    for row in yaml.safe_load(path.read_text()):
        row = dict(row)
        if row["kind"] not in get_args(Kind):
            known = ", ".join(get_args(Kind))
            raise ValueError(f"{path.name}: {row['variable']} has kind '{row['kind']}'; known kinds are {known}")
        row["slider"] = tuple(row["slider"]) if row.get("slider") else None
        for key in ("choices", "aliases", "tasks"):
            row[key] = tuple(row.get(key, ()))
        option = Option(**row)
        if not isinstance(option.default, str):
            raise ValueError(f"{path.name}: the default of {option.variable} must be text, in quotes")
        if option.extra and not option.flag:
            raise ValueError(f"{path.name}: {option.variable} is extra and so needs a flag to travel in other_args")
        options.append(option)
    return tuple(options)


def defaults(options: Iterable[Option], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Text of every option as in a new job: its declared default, or its environment variable where that is set."""
    values = {}
    for option in options:
        text = environment.get(option.environment, option.default) if option.environment else option.default
        if option.kind == "boolean" and text.lower() in ("yes", "true", "no", "false"):
            text = YES if text.lower() in ("yes", "true") else NO
        values[option.variable] = text
    return values


def parse_values(options: Sequence[Option], values: Mapping[str, str], *, task: str = "") -> dict[str, Value]:
    """Typed values of all options, the extra ones out of `other_args`; options that `values` lacks take their defaults.

    The entry `other_args` of the result holds what is left of it once our own flags are taken out.
    """
    given = defaults(options) | dict(values)
    extra, rest = split_other_args(options, given.get(OTHER_ARGS, ""), task=task)
    given |= extra
    given[OTHER_ARGS] = shlex.join(rest)
    return {option.variable: option.parse(given[option.variable]) for option in options}


def split_other_args(options: Sequence[Option], text: str, *, task: str = "") -> tuple[dict[str, str], list[str]]:
    """Take the flags of `options` out of RELION's "Additional arguments": ({variable: text}, words that are left).

    A repeated flag counts once, the last time. Both ``--flag value`` and ``--flag=value`` are read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"Additional arguments ({OTHER_ARGS}) cannot be read: {error} in: {text}") from None
    return take_flags(options, words, task=task)


def flags_of(options: Iterable[Option], task: str = "") -> dict[str, Option]:
    """The option that each flag or alias means while `task` runs: its own before another task's, a flag before an alias."""
    spellings = [(spelling, option) for option in options for spelling in (option.flag, *option.aliases) if spelling]
    # later entries win, so the best ones come last
    spellings.sort(key=lambda item: (task in item[1].tasks, item[0] == item[1].flag))
    return dict(spellings)


def take_flags(options: Iterable[Option], words: Sequence[str], *, task: str = "") -> tuple[dict[str, str], list[str]]:
    """Take the flags of `options` out of a list of command-line words: ({variable: text}, words that are left)."""
    by_flag = flags_of(options, task)
    values: dict[str, str] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        flag, has_value, value = word.partition("=")
        negated = by_flag.get("--" + flag.removeprefix("--no-")) if flag.startswith("--no-") else None
        option = by_flag.get(flag)
        if option is None and negated is not None and negated.kind == "boolean":
            values[negated.variable] = NO
        elif option is None:
            rest.append(word)
        elif option.kind == "boolean":
            values[option.variable] = value if has_value else YES
        elif has_value:
            values[option.variable] = value
        elif queue:
            values[option.variable] = queue.pop(0)
        else:
            raise UserError(f"{flag} needs a value.")
    return values, rest


def join_other_args(options: Sequence[Option], text: str, changes: Mapping[str, str]) -> str:
    """`text` of "Additional arguments" with the extra options in `changes` set to new texts.

    Words that are only an alias of an extra option stay as they are: another task may read them as an option of its own.
    """
    extra = [replace(option, aliases=()) for option in options if option.extra]
    values, rest = split_other_args(extra, text)
    values |= changes
    words = list(rest)
    for option in extra:
        value = values.get(option.variable)
        if value is None or value == option.default:
            continue
        if option.kind == "boolean":
            words.append(str(option.flag) if value == YES else "--no-" + str(option.flag).removeprefix("--"))
        else:
            words += [str(option.flag), value]
    return shlex.join(words)


def typed(values: Mapping[str, Any], variable: str, kind: type) -> Any:
    """The value of `variable`, checked to be of `kind`; for plugins that build dataclasses from parsed values."""
    value = values[variable]
    if not isinstance(value, kind):
        raise UserError(f"Option {variable} is '{value}'; it must be given.")
    return value
