"""Turns the fields of a pydantic-settings class into command line options.

Every setting of a worker is then a flag, an environment variable and a line of help, declared once.
The command line wins over the environment, which wins over the default.
"""

import functools
import inspect
import json
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.markup import escape

from streamer.errors import ConfigError
from streamer.masking import masked

# Types that typer reads by itself; anything else is taken as text.
_SIMPLE = (str, int, float, bool, Path)

R = TypeVar("R")


def env_name(settings: type[BaseModel], field: str) -> str:
    """The environment variable of a field."""
    return f"{dict(settings.model_config).get('env_prefix', '')}{field}".upper()


def flag_name(field: str) -> str:
    """The option of a field: `teacher_dir` is `--teacher-dir`."""
    return "--" + field.replace("_", "-")


def with_settings(
    settings: type[BaseSettings], leave_out: Collection[str] = ()
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorates a typer command with a parameter `settings`: it is filled from options, one a field.

    Use it under `@app.command()`. The command's own parameters stay; a field whose name one of them
    bears gets no option (the command sets it), nor do those in `leave_out`. Raises ConfigError when a value does not pass the
    settings' validation, naming flag and variable.
    """
    return _from_options(
        settings,
        "settings",
        "Settings (each is an environment variable too)",
        lambda given: load(settings, given),
        leave_out,
    )


def with_fields(model: type[BaseModel], panel: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The same for a topic contract: a parameter `fields` gets a dict of the fields that were given."""
    return _from_options(model, "fields", panel, lambda given: given)


def _from_options(
    model: type[BaseModel],
    target: str,
    panel: str,
    build: Callable[[dict[str, Any]], Any],
    leave_out: Collection[str] = (),
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        signature = inspect.signature(command)
        hints = inspect.get_annotations(command, eval_str=True)
        own = [
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
            if name != target
        ]
        taken = {parameter.name for parameter in own} | set(leave_out)
        fields = {name: info for name, info in model.model_fields.items() if name not in taken}
        options = [_option(model, name, info, panel) for name, info in fields.items()]

        @functools.wraps(command)
        def run(**given: Any) -> R:
            values = {name: given.pop(name) for name in fields}
            chosen = {name: _parsed(model, name, v) for name, v in values.items() if v is not None}
            return command(**{target: build(chosen)}, **given)

        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[_keyword(parameter) for parameter in (*own, *options)]
        )
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
        return run

    return decorate


def load(settings: type[BaseSettings], overrides: Mapping[str, Any]) -> Any:
    """An instance from overrides and environment. Raises ConfigError, every bad value on its own line."""
    try:
        return settings(**overrides)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            field = str(detail["loc"][0]) if detail["loc"] else ""
            where = f"{flag_name(field)} (or {env_name(settings, field)})" if field else "the settings together"
            # The input of a rule between settings is all of them, with their passwords: nobody could read it anyway.
            got = f", got {detail.get('input')!r}" if field else ""
            lines.append(masked(f"{where}: {detail['msg']}{got}"))
        raise ConfigError("\n".join(lines)) from error


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _option(model: type[BaseModel], name: str, info: FieldInfo, panel: str) -> inspect.Parameter:
    kind = _option_type(info.annotation)
    flag = flag_name(name)
    declaration = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    notes = [env_name(model, name)] if issubclass(model, BaseSettings) else []
    if info.default_factory is None:  # a made-up default (host name, process id) says nothing in a help text
        notes.append("required" if info.is_required() else f"default: {_shown(info.default)}")
    help_text = escape(" ".join(filter(None, [info.description, f"[{'; '.join(notes)}]"])))
    option = typer.Option(declaration, help=help_text, show_default=False, show_envvar=False, rich_help_panel=panel)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _shown(default: object) -> str:
    if isinstance(default, list | tuple | dict | set | frozenset):
        return json.dumps(default if isinstance(default, dict) else list(default), default=str)
    return "none" if default is None else "empty" if default == "" else str(default)


def _option_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _option_type(members[0]) if len(members) == 1 else str
    if get_origin(annotation) is Annotated:
        return _option_type(get_args(annotation)[0])
    if get_origin(annotation) is Literal and all(isinstance(choice, str) for choice in get_args(annotation)):
        return annotation
    return annotation if annotation in _SIMPLE else str


def _parsed(model: type[BaseModel], name: str, value: Any) -> Any:
    """Text for a list or table is JSON as in the environment, or for short `a,b` or `key=value,key=value`."""
    composite = _composite(model.model_fields[name].annotation)
    if composite is None or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        parts = [part.strip() for part in value.split(",")]
    if composite is not dict:
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(separator for _, separator, _ in pairs):
        raise ConfigError(f"{flag_name(name)}: expected key=value,key=value or a JSON object, got {value!r}")
    return {key.strip(): text.strip() for key, _, text in pairs}


def _composite(annotation: Any) -> Any:
    """list, tuple, set or dict where the annotation is one of these (or optional), else None."""
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return next(filter(None, map(_composite, get_args(annotation))), None)
    origin = get_origin(annotation) or annotation
    return origin if origin in (list, tuple, set, frozenset, dict) else None
