// The two that the page talks to: the challenge service's REST API, by its client for browsers, and
// the shop's own backend.

import * as client from "./challenge.js";

export { ChallengeError, Session } from "./challenge.js";

const PATIENCE_MS = 12_000;
const NO_ANSWER = {
  code: "network_error",
  message: "No answer came. Check the connection, then try again.",
  recoverable: true,
  request_id: "",
};

/**
 * Has the code of the session's challenge sent.
 *
 * @returns the challenge, or null for none.
 * @throws {ChallengeError}
 */
export async function send(restUrl, session, seen) {
  const what = `POST /v1/hosted-sessions/${session.id}/challenge/send`;
  const told = (call) => seen({ ...call, who: "Browser → REST API", what });
  try {
    const answer = await client.send(restUrl, session);
    told({ good: true, answer, outcome: 200 });
    return answer;
  } catch (error) {
    told({ good: false, answer: error.body, outcome: error.status || "no answer" });
    throw error;
  }
}

/**
 * Calls the shop's backend; `via` says what it calls in turn.
 *
 * @throws {ChallengeError} with the tries that are left and the challenge that is to be met, if the shop tells them.
 */
export async function shop(method, path, { session, body, seen, via } = {}) {
  const headers = method === "POST" ? { "content-type": "application/json" } : {};
  if (session) headers.authorization = `Bearer ${session.credential}`;
  let response, answer;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    answer = await response.json();
  } catch {
    answer = NO_ANSWER;
  }
  const good = response?.ok === true && answer?.code === undefined;
  const outcome = good ? "OK" : response ? "refused" : "no answer";
  seen?.({ good, answer, outcome, who: "Shop → service, gRPC", what: via });
  if (good) return answer;
  const refused = answer?.code ? answer : NO_ANSWER;
  const error = new client.ChallengeError(refused, { status: response?.status });
  const { attempts_remaining: attemptsRemaining, challenge } = refused;
  throw Object.assign(error, { attemptsRemaining, challenge });
}
