// The payer's page and the challenge service: one call over REST, and what can become of it.

const DEADLINE_MS = 12_000;
const WAITS_MS = [300, 1000];
const NO_ANSWER = {
  code: "network_error",
  message: "No answer came. Check the connection, then try again.",
  recoverable: true,
  request_id: "",
};

/** Why a call failed. Decide on `code` and `recoverable`; `message` is safe to show. */
export class ChallengeError extends Error {
  name = "ChallengeError";

  /** Makes one of the service's Error object; `status` 0 is for no answer. */
  constructor(body, { status = 0, retryAfter } = {}) {
    super(body.message);
    this.body = body;
    this.code = body.code;
    this.recoverable = body.recoverable;
    this.requestId = body.request_id;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** A session, by its credential `cs_<id>_secret_<random>`. */
export class Session {
  /** Makes one; null if the text is no credential. */
  static from(credential) {
    const parts = /^(cs_[A-Za-z0-9]{1,125})_secret_[A-Za-z0-9_-]{22,128}$/.exec(credential);
    return parts && new Session(parts[1], credential);
  }

  constructor(id, credential) {
    this.id = id;
    this.credential = credential;
  }
}

/**
 * Has the code of the session's challenge sent; does nothing for a captcha.
 *
 * Repeats the call where the service cannot be reached: within its window that sends no second code.
 * All of it ends by `deadlineMs`, or when `signal` says so.
 *
 * @returns the challenge, null for none.
 * @throws {ChallengeError} and, when `signal` ends it, the signal's reason.
 */
export async function send(restUrl, session, { signal, deadlineMs = DEADLINE_MS } = {}) {
  const url = `${restUrl}/v1/hosted-sessions/${session.id}/challenge/send`;
  const late = AbortSignal.timeout(deadlineMs);
  const end = signal ? AbortSignal.any([signal, late]) : late;
  for (const wait of [...WAITS_MS, undefined]) {
    try {
      return await post(url, session.credential, end);
    } catch (error) {
      signal?.throwIfAborted();
      const unreachable = error.status === 0 || error.status === 503;
      if (!unreachable || wait === undefined || end.aborted) throw error;
    }
    await pause(wait, end);
  }
}

async function post(url, credential, signal) {
  let response, answer;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${credential}` },
      credentials: "omit",
      cache: "no-store",
      signal,
    });
    answer = await response.json();
  } catch {
    throw new ChallengeError(NO_ANSWER);
  }
  if (response.ok) return answer;
  if (typeof answer?.code !== "string") throw new ChallengeError(NO_ANSWER); // not the service's
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  const retryAfter = Number.isNaN(wait) ? undefined : wait;
  throw new ChallengeError(answer, { status: response.status, retryAfter });
}

/** Waits, or until the call is to end. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
