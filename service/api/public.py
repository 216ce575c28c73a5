"""The public API: Send checks the request, sends, and answers."""

from __future__ import annotations

from govifi.challenge.v1 import challenge_pb2, challenge_pb2_grpc

from service.api.bad_fields import BadFields
from service.api.credentials import BrowserAccess
from service.api.metadata import REST_BODY, Context, is_rest, metadata_of, page_origin
from service.api.replies import open_challenge
from service.delivery.sending import Sender


class PublicServicer(challenge_pb2_grpc.ChallengeServiceServicer):
    """The rpc that browsers call."""

    def __init__(self, access: BrowserAccess, sender: Sender) -> None:
        self._access = access
        self._sender = sender

    async def Send(
        self, request: challenge_pb2.SendRequest, context: Context
    ) -> challenge_pb2.Challenge:
        BadFields.of(request).refuse()
        metadata = metadata_of(context)
        row = await self._access.admit(request.session_id, metadata)
        sent = await self._sender.send(row, page_origin(metadata))
        challenge = open_challenge(sent)
        if challenge is None and is_rest(metadata):
            await context.send_initial_metadata(((REST_BODY, "null"),))
        return challenge_pb2.Challenge() if challenge is None else challenge
