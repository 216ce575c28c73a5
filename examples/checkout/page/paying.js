// The confirm of a payment: the shop asks whether it may go on, charges the card, ends the session.

import { shop } from "./api.js";
import { showCall } from "./screen.js";

let unanswered; // { content, id } of the confirm whose answer was lost

/**
 * Confirms the session's payment. Repeated without an answer, it is the same request: it counts once.
 *
 * @param confirm the payer's `code` or `token` and the challenge's `type`, or another `card`, or nothing.
 * @throws {ChallengeError}
 */
export async function pay(session, confirm) {
  const content = JSON.stringify([session.id, confirm]);
  if (unanswered?.content !== content) unanswered = { content, id: crypto.randomUUID() };
  const body = { ...confirm, request_id: unanswered.id };
  try {
    return await shop("POST", "/pay", { session, body, seen: showPaying });
  } catch (error) {
    if (error.code !== "network_error") unanswered = undefined;
    throw error;
  }
}

function showPaying(call) {
  const { outcome } = call.answer;
  if (outcome === undefined) return showCall({ ...call, what: "VerifyChallenge" });
  const passed = { ...call, good: true, outcome: "OK", answer: undefined };
  showCall({ ...passed, what: "VerifyChallenge", answer: { outcome } });
  if (call.good) {
    showCall({ ...passed, who: "Shop → acquirer", what: "charge" });
    showCall({ ...passed, what: "CloseSession" });
  } else {
    showCall({ ...call, who: "Shop → acquirer", what: "charge" });
  }
}
