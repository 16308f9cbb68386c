"""Types of requests and answers, converted and refused the way pydantic 1 does in the real program."""

from __future__ import annotations

from typing import Any

TRUE, FALSE = {1, "1", "on", "t", "true", "y", "yes"}, {0, "0", "off", "f", "false", "n", "no"}
PROBLEMS = {
    int: ("value is not a valid integer", "type_error.integer"),
    float: ("value is not a valid float", "type_error.float"),
    bool: ("value could not be parsed to a boolean", "type_error.bool"),
    str: ("str type expected", "type_error.str"),
    list: ("value is not a valid list", "type_error.list"),
    dict: ("value is not a valid dict", "type_error.dict"),
}


class Mismatch(ValueError):
    """A value that does not fit its type; ``args`` are pydantic's message and type name."""


def convert(kind: type, value: Any) -> Any:
    """``value`` as ``kind``, with pydantic 1's liberties ("2" is a number, 2 is a text); None stays None."""
    if value is None:
        return None
    try:
        if kind is bool:
            word = value.lower() if isinstance(value, str) else value
            if isinstance(word, (bool, int, str)) and word in TRUE | FALSE:
                return word in TRUE
        elif kind in (int, float) and isinstance(value, (str, int, float)):
            return kind(value)
        elif kind is str and isinstance(value, (str, int, float)):
            return str(value)
        elif kind in (list, dict) and isinstance(value, kind):
            return value
    except (ValueError, OverflowError):
        pass
    raise Mismatch(*PROBLEMS[kind])


def answer_kind(default: Any) -> Any:
    """The type an answer's field has because of its default; None where anything goes."""
    if not default:
        return None
    return float if type(default) is int else type(default)


class ValidationError(Exception):
    """An answer whose own data do not fit: the real program sends status 500 with this text."""

    def __init__(self, model: str, problems: list[tuple[str, str, str]]) -> None:
        lines = [f"{len(problems)} validation error{'s'[: len(problems) > 1]} for {model}"]
        lines += [f"response -> {name}\n  {text} (type={kind})" for name, text, kind in problems]
        super().__init__("\n".join(lines))


def answer(model: str, kinds: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    converted, problems = {}, []
    for name, value in values.items():
        try:
            converted[name] = value if kinds.get(name) is None else convert(kinds[name], value)
        except Mismatch as exc:
            problems.append((name, exc.args[0], exc.args[1]))
    if problems:
        raise ValidationError(model, problems)
    return converted


class RequestError(Exception):
    """A request body that does not fit (status 422)."""

    def __init__(self, problems: list[dict]) -> None:
        super().__init__("request validation error")
        self.problems = problems


def request(fields: dict[str, tuple[type, Any]], body: dict[str, Any]) -> dict[str, Any]:
    """``body`` completed by defaults and converted; unknown names are dropped; RequestError lists all misfits."""
    values, problems = {}, []
    for name, (kind, default) in fields.items():
        try:
            values[name] = convert(kind, body[name]) if name in body else default
        except Mismatch as exc:
            problems.append({"loc": ["body", name], "msg": exc.args[0], "type": exc.args[1]})
    if problems:
        raise RequestError(problems)
    return values
