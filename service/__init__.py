"""Challenges of hosted payment sessions: issue, send, verify.

Each room imports only those below it:

    commands    what an operator or a developer types
    serving     the processes that serve, from their start until they have drained
    app         puts together what serves
    api         the gRPC boundary
    delivery    Send, and what is owed until a provider has the code or it is given up
    challenges  what a session's row allows, and what changes it
    evidence    what happened in a session
    captchas    what becomes of a captcha's token
    channels    ways to reach a payer
    storage     what is remembered
    telemetry   what operators see
    aio         what asyncio and aiohttp lack
    settings, errors, keyring
"""
