"""The README says only what is so."""

from __future__ import annotations

from pathlib import Path

from service.api.error_table import BUG, TABLE
from service.settings import Settings

README = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")


def settings_table() -> str:
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        shown = ",".join(shown) if isinstance(shown, tuple) else shown
        required = name in ("keys", "fingerprint_key", "jwks", "jwt_issuer")
        value = "required" if required else f"`{shown}`" if shown != "" else "none"
        lines.append(f"| `CHALLENGE_{name.upper()}` | {value} | {field.description} |")
    return "\n".join(lines)


def test_the_settings_table_is_that_of_the_settings() -> None:
    assert settings_table() in README


def test_every_public_error_is_listed() -> None:
    listed = {
        (int(status), code.strip().strip("`"))
        for line in README.splitlines()
        if line.startswith("| ") and line.count("|") == 4 and line[2:5].isdigit()
        for statuses, code in [line.strip("| ").split("|")[:2]]
        for status in statuses.split(",")
    }
    internal = {"SessionConflict", "ChallengeClosed", "WrongAnswer", "CodeExpired"}
    internal |= {"CodeReplaced"}
    internal |= {"CaptchaUnsupported", "TokenInvalid", "TokenScopeMissing"}
    rows = [row for error, row in TABLE.items() if error.__name__ not in internal]
    assert {(row.http, row.code) for row in (*rows, BUG)} <= listed
