import type { Challenge, ErrorBody } from "./types.js";
export type { CaptchaChallenge, Challenge, CodeChallenge, ErrorBody } from "./types.js";

/** Why a call failed. Decide on `code` and `recoverable`; `message` is safe to show. */
export declare class ChallengeError extends Error {
  constructor(body: ErrorBody, about?: { status?: number; retryAfter?: number });
  readonly body: ErrorBody;
  readonly code: ErrorBody["code"];
  /** Whether the payer can put it right in this session; otherwise the merchant opens a new one. */
  readonly recoverable: boolean;
  /** What support and logs know the call by; empty where no answer came. */
  readonly requestId: string;
  /** HTTP's; 0 where no answer came. */
  readonly status: number;
  /** Seconds until it may work again, where that is said. */
  readonly retryAfter: number | undefined;
}

/** A session, by its credential `cs_<id>_secret_<random>`. */
export declare class Session {
  /** Makes one; null if the text is no credential. */
  static from(credential: string): Session | null;
  constructor(id: string, credential: string);
  readonly id: string;
  readonly credential: string;
}

export interface SendOptions {
  /** Ends the call; it then throws the signal's reason. */
  signal?: AbortSignal;
  /** Milliseconds for the call and its repeats; 12 000 unless said otherwise. */
  deadlineMs?: number;
}

/**
 * Has the code of the session's challenge sent; does nothing for a captcha. Repeats the call where
 * the service cannot be reached: within its window that sends no second code.
 *
 * @returns the challenge, null for none.
 * @throws {ChallengeError}
 */
export declare function send(
  restUrl: string,
  session: Session,
  options?: SendOptions,
): Promise<Challenge>;
