// The two that the page talks to: the challenge service's REST API, and the shop's own backend.

const PATIENCE_MS = 12_000;
const NO_ANSWER = {
  code: "network_error",
  message: "No answer came. Check the connection, then try again.",
  recoverable: true,
};

/** What a call was refused with: the Error object, and how long to wait if it is told. */
export class Refused extends Error {
  constructor(body, retryAfter) {
    super(body.message);
    this.code = body.code;
    this.recoverable = body.recoverable === true;
    this.requestId = body.request_id ?? "";
    this.attemptsRemaining = body.attempts_remaining;
    this.retryAfter = retryAfter;
  }
}

/** A session, by its credential `cs_<id>_secret_<random>`. */
export class Session {
  /** Makes one; null if the text is no credential. */
  static from(credential) {
    const parts = /^(cs_[A-Za-z0-9]+)_secret_[A-Za-z0-9_-]{22,}$/.exec(credential);
    return parts && new Session(parts[1], credential);
  }

  constructor(id, credential) {
    this.id = id;
    this.credential = credential;
  }
}

/**
 * Has the code of the session's challenge sent.
 *
 * @returns the challenge, or null for none.
 * @throws {Refused}
 */
export function send(restUrl, session, seen) {
  const path = `/v1/hosted-sessions/${session.id}/challenge/send`;
  const told = ({ status, ...rest }) =>
    seen({ ...rest, who: "Browser → REST API", what: `POST ${path}`, outcome: status || "no answer" });
  return call(restUrl, "POST", path, { session, seen: told });
}

/** Calls the shop's backend; `via` says what it calls in turn. */
export function shop(method, path, { session, body, seen, via } = {}) {
  const told = ({ status, ...rest }) => {
    const outcome = rest.good ? "OK" : status ? "refused" : "no answer";
    seen?.({ ...rest, who: "Shop → service, gRPC", what: via, outcome });
  };
  return call("", method, path, { session, body, seen: told });
}

async function call(base, method, path, { session, body, seen }) {
  const headers = {};
  if (session) headers.authorization = `Bearer ${session.credential}`;
  if (method === "POST" && base === "") headers["content-type"] = "application/json";
  let response, answer;
  try {
    response = await fetch(base + path, {
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
  seen({ good, status: response?.status, answer });
  if (good) return answer;
  const wait = Number.parseInt(response?.headers.get("retry-after") ?? "", 10);
  throw new Refused(answer?.code ? answer : NO_ANSWER, Number.isNaN(wait) ? undefined : wait);
}
