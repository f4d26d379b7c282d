"""Addresses as they may be shown: without passwords."""

import re

# Up to the last @ before a blank: a password may hold @, / and : itself. Showing too little does no harm.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s:@/]*)(?P<rest>[^\s]*)@")
_PARAMETER = re.compile(r"(?P<name>[?&;](?:password|passwd|username|user|secret|token|key)=)[^&;\s\"']+", re.IGNORECASE)
HIDDEN = "***"


def masked(text: object) -> str:
    """`text` with the passwords of all URLs in it replaced by `***`.

    >>> masked("Redis at redis://app:pa/ss@cache:6379/0 does not answer")
    'Redis at redis://app:***@cache:6379/0 does not answer'
    >>> masked("redis://cache:6379/0?password=secret&db=1")
    'redis://cache:6379/0?password=***&db=1'
    """

    def hide(found: re.Match[str]) -> str:
        user = f"{found['user']}:" if found["rest"].startswith(":") else ""
        return f"{found['scheme']}{user}{HIDDEN}@"

    return _PARAMETER.sub(rf"\g<name>{HIDDEN}", _USER_INFO.sub(hide, str(text)))
