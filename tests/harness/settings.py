"""Settings that read nothing but what a test gives them."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from service.settings import Settings


class GivenSettings(Settings):
    """They are alike whatever is exported to the tests, and soon made."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **others: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
