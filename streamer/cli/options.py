"""Turns the fields of a pydantic-settings class into command line options.

Every setting of a worker is then a flag, an environment variable, a key of the file behind `--config` and a line of
help, declared once. The command line wins over the environment, which wins over the file, which wins over the default.
"""

import functools
import inspect
import json
import os
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.markup import escape
from typer.core import TyperOption
from typer.models import OptionInfo

from streamer.cli.config_file import read_config
from streamer.errors import ConfigError
from streamer.masking import masked
from streamer.security import is_secret
from streamer.settings import CommonSettings

# What nearly everybody must say, whatever the command; more of it only workers need.
CONNECTION = ("bootstrap", "redis_url", "topic_prefix", "config")
WORKER_CONNECTION = (*CONNECTION, "state_dir", "store")
CONNECTION_PANEL = "Connection"
MORE_PANEL = "More settings"
_CONTEXT, _ALL = "context", "help_all"
_SECRET = ("redis_url", "console_token")  # may hold a password: never shown

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
    settings: type[BaseSettings],
    *,
    shown: Collection[str] = (),
    connection: Collection[str] = CONNECTION,
    leave_out: Collection[str] = (),
    apart: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorates a typer command with a parameter `settings`: it is filled from options, one a field.

    Use it under `@app.command()`. The command's own parameters stay; a field whose name one of them bears gets no
    option (the command sets it). `--help` shows the command's own options, the fields in `shown`, and in a panel of
    their own those in `connection`; `--help-all` shows all. Raises ConfigError when a value does not pass the settings'
    validation, naming where it came from.

    Args:
        shown, connection: fields that `--help` shows, in this order.
        leave_out: fields without an option.
        apart: field → panel of those that `--help-all` does not show, either, until `reveal`.
    """

    def panel_of(name: str) -> tuple[str | None, bool]:
        if apart and name in apart:
            return apart[name], False
        if name in connection:
            return CONNECTION_PANEL, True
        return (None, True) if name in shown else (MORE_PANEL, False)

    def build(given: dict[str, Any], context: typer.Context) -> Any:
        root = context.find_root()
        before = {k: v for k, v in (root.obj or {}).items() if k in settings.model_fields and k not in leave_out}
        return load(settings, before | given, known_settings(root.command))

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        order = [*shown, *connection, *settings.model_fields]
        made = _from_options(settings, command, "settings", panel_of, build, leave_out, order, set(apart or ()))
        made.__settings__ = settings  # type: ignore[attr-defined]
        return made

    return decorate


def with_fields(model: type[BaseModel], panel: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The same for a topic contract: a parameter `fields` gets a dict of the fields that were given."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        return _from_options(model, command, "fields", lambda name: (panel, True), lambda given, _: given)

    return decorate


def connection_before(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates the root command: what says where the servers are may stand before the verb as well as after it."""

    def keep(given: dict[str, Any], context: typer.Context) -> None:
        context.obj = given

    return _from_options(CommonSettings, command, "given", lambda name: (None, False), keep, autoenv=False)


def table_option(text: str) -> Any:
    """An option of tables that are not understood by themselves: `--help-all` shows it."""
    return typer.Option(help=text, hidden=True, rich_help_panel="Tables that are not understood by themselves")


def listed(text: str) -> tuple[str, ...]:
    """The values of an option that takes several.

    >>> listed("a, b,")
    ('a', 'b')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def settings_of(command: Any) -> type[BaseSettings] | None:
    """The settings class that a command is filled from."""
    found: type[BaseSettings] | None = getattr(command.callback, "__settings__", None)
    return found


def known_settings(root: Any) -> set[str]:
    """Names of the settings of a command and of all below it."""
    found = settings_of(root)
    names = set(found.model_fields) if found else set()
    return names.union(*(known_settings(inner) for inner in getattr(root, "commands", {}).values()))


def reveal(command: Any, names: Collection[str]) -> None:
    """Let the help of a command show options that it hides."""
    for parameter in command.params:
        if parameter.name in names:
            parameter.hidden = False


def _from_options(
    model: type[BaseModel],
    command: Callable[..., R],
    target: str,
    panel_of: Callable[[str], tuple[str | None, bool]],
    build: Callable[[dict[str, Any], typer.Context], Any],
    leave_out: Collection[str] = (),
    order: Sequence[str] = (),
    apart: Collection[str] = (),
    autoenv: bool = True,
) -> Callable[..., R]:
    signature = inspect.signature(command)
    hints = inspect.get_annotations(command, eval_str=True)
    own = [
        _described(parameter.replace(annotation=hints.get(name, parameter.annotation)))
        for name, parameter in signature.parameters.items()
        if name != target
    ]
    left_out = {parameter.name for parameter in own} | set(leave_out)
    left_out |= {name for name, info in model.model_fields.items() if is_secret(info)}
    names = [name for name in dict.fromkeys([*order, *model.model_fields]) if name in model.model_fields]
    fields = {name: model.model_fields[name] for name in names if name not in left_out}
    options = [_option(model, name, info, *panel_of(name), autoenv) for name, info in fields.items()]
    if issubclass(model, BaseSettings) and autoenv:
        options.append(_help_all(model, set(apart)))

    inner = any(parameter.name == _CONTEXT for parameter in own)  # decorated twice

    @functools.wraps(command)
    def run(**given: Any) -> R:
        context = given[_CONTEXT] if inner else given.pop(_CONTEXT)
        given.pop(_ALL, None)
        values = {name: given.pop(name) for name in fields}
        _refuse_shown(model, context, values)
        chosen = {name: _parsed(model, name, v) for name, v in values.items() if v is not None}
        return command(**{target: build(chosen, context)}, **given)

    context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [*([] if inner else [context]), *(_keyword(parameter) for parameter in (*own, *options))]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _refuse_shown(model: type[BaseModel], context: typer.Context, values: Mapping[str, Any]) -> None:
    """Raises ConfigError when a password stands on the command line, where every user of the machine sees it."""
    for name, value in values.items():
        source = context.get_parameter_source(name)
        typed = source is not None and source.name == "COMMANDLINE"
        if typed and isinstance(value, str) and masked(value) != value:
            more = ", or user and password apart from it by ANOMALYLLM_REDIS_USER and ANOMALYLLM_REDIS_PASSWORD_FILE"
            raise ConfigError(
                f"{flag_name(name)}: process lists show a password on the command line. Give it by the variable "
                f"{env_name(model, name)}{more if name == 'redis_url' else ''}"
            )


def load(settings: type[BaseSettings], overrides: Mapping[str, Any], known: Collection[str] = ()) -> Any:
    """An instance from overrides, environment and file, the first that says something.

    `known`: names that the file may have besides the fields. Raises ConfigError, every bad value on its own line.
    """
    variables = {name.upper(): value for name, value in os.environ.items()}
    path = overrides.get("config") or variables.get(env_name(settings, "config"))
    values: dict[str, Any] = {}
    if path and "config" in settings.model_fields:
        read = read_config(Path(path), {*settings.model_fields, *known})
        values = {k: v for k, v in read.items() if k in settings.model_fields and k not in overrides}
        values = {k: v for k, v in values.items() if env_name(settings, k) not in variables}
    try:
        return settings(**values, **overrides)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            field = str(detail["loc"][0]) if detail["loc"] else ""
            where = f"{flag_name(field)} (or {env_name(settings, field)})" if field else "the settings together"
            where = f"{field} in {path}" if field in values else where
            # The input of a rule between settings is all of them, with their passwords: nobody could read it anyway.
            hidden = not field or field in _SECRET or is_secret(settings.model_fields[field])
            got = "" if hidden else f", got {detail.get('input')!r}"
            lines.append(masked(f"{where}: {detail['msg']}{got}"))
        raise ConfigError("\n".join(lines)) from error


def _help_all(model: type[BaseModel], apart: Collection[str]) -> inspect.Parameter:
    def show(context: typer.Context, value: bool) -> None:
        if not value:
            return
        for parameter in context.command.params:
            if not isinstance(parameter, TyperOption):
                continue
            if parameter.name not in apart:
                parameter.hidden = False
            variable = parameter.envvar or f"{context.auto_envvar_prefix}_{(parameter.name or '').upper()}"
            if parameter.name in model.model_fields:
                variable = env_name(model, parameter.name or "")
            if parameter.name not in (_ALL, "help"):
                parameter.help = f"{parameter.help} {escape(f'[{variable}]')}"
        typer.echo(context.get_help())
        raise typer.Exit

    option = typer.Option(
        "--help-all", is_eager=True, callback=show, show_default=False, allow_from_autoenv=False,
        help="Show all settings, and their environment variables.",
    )  # fmt: skip
    return inspect.Parameter(_ALL, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def _described(parameter: inspect.Parameter) -> inspect.Parameter:
    """A command's own option, its default in the text: a line less in a narrow terminal."""
    for option in getattr(parameter.annotation, "__metadata__", ()):
        if not isinstance(option, OptionInfo):
            continue
        option.show_envvar = False
        # A flag without a counterpart is off by default, and an option that may be left out has none.
        if option.show_default is True and parameter.default not in (None, False, "", parameter.empty):
            option.help = f"{option.help} {escape(f'[default: {_shown(parameter.default)}]')}"
        option.show_default = False
    return parameter


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _option(
    model: type[BaseModel], name: str, info: FieldInfo, panel: str | None, visible: bool, autoenv: bool
) -> inspect.Parameter:
    kind = _option_type(info.annotation)
    flag = flag_name(name)
    declaration = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    note = ""
    if info.is_required():
        note = "[required]"
    elif info.default_factory is None and info.default not in (None, "", {}, []):
        # a made-up default (host name, process id) says nothing in a help text
        note = f"[default: {_shown(info.default)}]"
    option = typer.Option(
        declaration,
        help=escape(" ".join(filter(None, [info.description, note]))),
        hidden=not visible,
        show_default=False,
        show_envvar=False,
        allow_from_autoenv=autoenv,
        rich_help_panel=panel,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _shown(default: object) -> str:
    if isinstance(default, list | tuple | dict | set | frozenset):
        return json.dumps(default if isinstance(default, dict) else list(default), default=str)
    return ("no", "yes")[default] if isinstance(default, bool) else str(default)


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
