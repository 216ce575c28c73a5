"""Protections of the edge: what it refuses, bounds and lets nobody say."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

EDGE = (
    Mutation(
        "public: no native gRPC", "envoy.yaml",
        r"safe_regex: {regex: '(?i)(.*,)?\s*application/grpc.*'}", "exact: none",
        "native_grpc_without_a_body",
    ),
    Mutation(
        "public: no native gRPC in a second line either", "envoy.yaml",
        r"(?i)(.*,)?\s*application/grpc", "(?i)application/grpc",
        "native_grpc_without_a_body",
    ),
    Mutation(
        "public: no query, no escapes", "envoy.yaml",
        r"'.*(\?.|%).*'", "'never'",
        "test_malformed_target or test_a_query",
    ),
    Mutation(
        "public: one host", "envoy.yaml",
        'string_match: {contains: ","}', 'string_match: {contains: ",,"}',
        "test_malformed_http",
    ),
    Mutation(
        "public: the address is the connection's", "envoy.yaml",
        "use_remote_address: true\n          xff_num_trusted_hops: 0",
        "use_remote_address: false\n          xff_num_trusted_hops: 0",
        "requests_per_address_whatever_the_client_says",
    ),
    Mutation(
        "public: the request id is ours", "envoy.yaml",
        "preserve_external_request_id: false", "preserve_external_request_id: true",
        "every_request_has_an_id_of_its_own",
    ),
    Mutation(
        "public: only known headers go further", "envoy.yaml",
        "for name in pairs(others) do headers:remove(name) end", "",
        "test_what_reaches_the_service",
    ),
    Mutation(
        "public: one bucket for a credential's spellings", "envoy.yaml",
        'credential and "Bearer " .. credential or authorization', "authorization",
        "no_spelling_gives_a_credential_another_bucket",
    ),
    Mutation(
        "public: no length in doubt over HTTP/1.0", "envoy.yaml",
        '(others["x-transfer-encoding"] or bare)', "bare",
        "http_1_0_has_no_transfer_encoding",
    ),
    Mutation(
        "public: a body says nothing", "envoy.yaml",
        r'elseif not text:find("^[ \t\r\n]*{[ \t\r\n]*}[ \t\r\n]*$") then', "elseif false then",
        "test_malformed_body",
    ),
    Mutation(
        "public: preflights have no rate", "envoy.yaml",
        "disabled: true\n              # The transcoder would let it pass",
        "config: {}\n              # The transcoder would let it pass",
        "preflights_pass_when_a_rate_is_spent",
    ),
    Mutation(
        "public: an unknown transfer encoding is the client's fault", "envoy.yaml",
        "{default_value: 501, runtime_key: none}}",
        "{default_value: 418, runtime_key: none}}",
        "an_unknown_transfer_encoding",
    ),
    Mutation(
        "public: what a header block holds", "envoy.yaml",
        "max_headers_count: 8192", "max_headers_count: 32768",
        "what_a_header_block_without_an_end_holds",
    ),
    Mutation(
        "internal: one whole message a call", "envoy.yaml",
        "if not is_one_message(body) then", "if false then",
        "what_is_not_one_message",
    ),
    Mutation(
        "internal: a rate for all callers", "envoy.yaml",
        "filter_enabled: {default_value: {numerator: 100}}\n"
        "              request_headers_to_add_when_not_enforced",
        "filter_enabled: {default_value: {numerator: 0}}\n"
        "              request_headers_to_add_when_not_enforced",
        "internal_callers_have_a_rate",
    ),
    Mutation(
        "internal: a refusal is waited for", "envoy.yaml",
        "delay: {header_delay: {}, percentage: {numerator: 100}}",
        "delay: {header_delay: {}, percentage: {numerator: 0}}",
        "over_the_rate_calls_wait_for_their_refusal and half-a-message",
    ),
    Mutation(
        "internal: what is over the rate costs no more", "envoy.yaml",
        "tostring(math.random(3000, 7000)))\n                      return\n",
        "tostring(math.random(3000, 7000)))\n",
        "over_the_rate_calls_wait_for_their_refusal and half-a-message",
    ),
    Mutation(
        "internal: a rate of connections", "envoy.yaml",
        "stat_prefix: internal\n        token_bucket",
        "stat_prefix: internal\n"
        "        runtime_enabled: {default_value: false, runtime_key: none}\n        token_bucket",
        "connections_of_internal_callers_are_bounded",
    ),
    Mutation(
        "internal: who says nothing takes no connection", "envoy.yaml",
        "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        "who_connects_and_says_nothing",
    ),
    Mutation(
        "internal: who is gone keeps no connection", "envoy.yaml",
        "            connection_keepalive: {interval: 10s, timeout: 10s}\n", "",
        "an_internal_caller_that_is_gone",
    ),
    Mutation(
        "internal: capacity apart from payers'", "envoy.yaml",
        "priority: HIGH  # connections", "priority: DEFAULT  # connections",
        "listeners_have_capacity_apart",
    ),
    Mutation(
        "both: connections take turns", "envoy.yaml",
        "http.max_requests_per_io_cycle: 1\n", "http.max_requests_per_io_cycle: 1000\n",
        "connections_take_turns",
    ),
)  # fmt: skip
