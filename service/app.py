"""The composition root: puts together what serves, as the settings say."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Self

from service.api.admin import AdminServicer
from service.api.credentials import BrowserAccess, InternalAccess, TokenVerifier
from service.api.jwks import KeySet
from service.api.public import PublicServicer
from service.captchas.by_type import Captchas
from service.challenges.erasing import Eraser
from service.challenges.fallbacks import Fallbacks
from service.challenges.issuing import Issuing
from service.challenges.judging import ResponseJudge
from service.challenges.numbers import NumberRules
from service.challenges.repeats import Repeats
from service.challenges.rules import LONGEST_LIFE_MS
from service.challenges.sealing import Sealing
from service.challenges.sessions import Sessions
from service.challenges.verifying import Verifier, VerifySettings
from service.channels import BadDSN, Channel, Channels
from service.delivery.dispatch import Dispatcher
from service.delivery.messages import Composer
from service.delivery.providers import Provider
from service.delivery.sampling import Sampler
from service.delivery.sending import Sender, SendSettings
from service.delivery.settling import Settling
from service.delivery.sweep import Sweep
from service.errors import BadSetting, CannotProceed
from service.evidence.events import Events
from service.evidence.exporting import Exporter
from service.keyring import EvidenceKeys, Fingerprints, KeyRing
from service.settings import Settings
from service.storage.archive import Archive
from service.storage.database import Database
from service.storage.dispatches import Dispatches
from service.storage.opening import open_database, wall_clock_ms
from service.storage.retention import Retention
from service.storage.rows import Rpc
from service.storage.store import Store
from service.storage.traced import traced
from service.telemetry import tracing


class App:
    """Everything that serves, put together."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        keys: KeySet,
        by_type: Mapping[str, Sequence[Channel]],
        captchas: Captchas,
    ) -> None:
        ring = KeyRing.parse(settings.keys.get_secret_value())
        fingerprints = Fingerprints.parse(settings.fingerprint_key.get_secret_value())
        evidence_keys = EvidenceKeys.parse(settings.fingerprint_key.get_secret_value())
        events = Events(evidence_keys)
        # One each, with one breaker, also for a channel that reaches by SMS and by email.
        of_channel = {channel: Provider(channel) for channel in chain(*by_type.values())}
        providers = {
            challenge_type: [of_channel[channel] for channel in several]
            for challenge_type, several in by_type.items()
        }
        store, dispatches, archive = Store(database), Dispatches(database), Archive(database)
        lease_ms = int(settings.lease_seconds * 1000)
        self._database = database
        self.captchas = captchas
        self._all_providers = list(of_channel.values())
        self._dispatcher = Dispatcher(
            dispatches,
            Composer(ring, settings.code_digits),
            providers,
            Settling(store, dispatches, events),
            settings.account_sends_per_hour,
            lease_ms,
        )
        self._sweep = Sweep(database, dispatches, self._dispatcher, lease_ms)
        self._retention = Retention(
            archive, settings.retention_days, settings.evidence_days, LONGEST_LIFE_MS
        )
        watched = settings.metrics_listen or tracing.is_on()
        self._sampler = Sampler(database, dispatches, self._all_providers) if watched else None
        send_settings = SendSettings(
            window_ms=settings.send_window_seconds * 1000,
            wait_ms=int(settings.send_wait_seconds * 1000),
            code_ttl_ms=settings.code_ttl_seconds * 1000,
            lease_ms=lease_ms,
            account_sends_per_hour=settings.account_sends_per_hour,
        )
        sealing = Sealing(ring, fingerprints)
        fallbacks = Fallbacks(store, sealing, Repeats(store, fingerprints, Rpc.FALL_BACK), events)
        self._sender = Sender(store, dispatches, self._dispatcher, fallbacks, send_settings)
        self.public = PublicServicer(BrowserAccess(store), self._sender)
        tokens = TokenVerifier(keys, settings.jwt_issuer, settings.jwt_audience)
        self.admin = AdminServicer(
            InternalAccess(store, tokens),
            dispatches,
            Sessions(store, fingerprints, events, settings.account_sessions_per_hour),
            Issuing(
                store,
                sealing,
                Repeats(store, fingerprints, Rpc.ISSUE),
                events,
                {challenge_type for challenge_type, several in providers.items() if several},
            ),
            fallbacks,
            Verifier(
                store,
                ResponseJudge(ring, fingerprints, settings.code_digits, captchas),
                fallbacks,
                Repeats(store, fingerprints, Rpc.VERIFY),
                events,
                VerifySettings(
                    satisfied_ms=settings.satisfaction_seconds * 1000,
                    payments=settings.satisfaction_payments,
                ),
            ),
            NumberRules(settings.sms_number_types, settings.sms_countries),
            Exporter(archive, evidence_keys),
            Eraser(archive, sealing, fingerprints, events),
        )

    @classmethod
    async def build(cls, settings: Settings, now_ms: Callable[[], int] = wall_clock_ms) -> Self:
        """Opens what the settings name.

        Args:
            settings: The settings.
            now_ms: SQLite's clock; PostgreSQL has its own.

        Raises:
            CannotProceed: Something cannot be used; the text names its setting.
        """
        keys = KeySet(settings.jwks)
        try:
            await keys.load()
        except ValueError as error:
            raise CannotProceed("CHALLENGE_JWKS", str(error)) from None
        by_type = _channels(settings)
        captchas = Captchas.connect(settings)
        database = traced(await open_database(settings, now_ms))
        return cls(settings, database, keys, by_type, captchas)

    async def check_ready(self) -> None:
        """Looks whether calls can be served now.

        Raises:
            StoreUnavailable: The database cannot be written to.
        """
        await self._database.check_writable()

    def start(self) -> None:
        """Starts what runs in the background: leases, sweep, retention, sampling."""
        self._dispatcher.start()
        self._sweep.start()
        self._retention.start()
        if self._sampler:
            self._sampler.start()

    async def stop(self, drain_seconds: float) -> None:
        """Waits for claims and deliveries, then closes providers, captchas and database.

        Args:
            drain_seconds: For claims and deliveries together; the next process has what is left.
        """
        await self._retention.stop()
        await self._sweep.stop()
        ends_at = time.monotonic() + drain_seconds
        await self._sender.stop(drain_seconds)
        await self._dispatcher.stop(max(0.0, ends_at - time.monotonic()))
        if self._sampler:
            await self._sampler.stop()
        for provider in self._all_providers:
            await provider.close()
        await self.captchas.close()
        await self._database.close()


def _channels(settings: Settings) -> Mapping[str, Sequence[Channel]]:
    channels, by_type = Channels(), {}
    for challenge_type, dsns in (
        ("sms", settings.sms_channels),
        ("email", settings.email_channels),
    ):
        try:
            by_type[challenge_type] = channels.connect(challenge_type, dsns.get_secret_value())
        except BadDSN as error:
            raise BadSetting(f"CHALLENGE_{challenge_type.upper()}_CHANNELS", str(error)) from None
    return by_type
