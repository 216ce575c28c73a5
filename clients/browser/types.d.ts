// Made from docs/openapi.yaml by `make proto`.

/** What the payer must do before paying; `null` when there is nothing to do. Fields that do not apply are absent. */
export type Challenge = CaptchaChallenge | CodeChallenge | null;

/** A widget to solve. */
export type CaptchaChallenge = {
  /** Whose widget. */
  type: "hcaptcha" | "turnstile";
  /** Public key of the widget. */
  site_key: string;
};

/** A code to type. */
export type CodeChallenge = {
  /** How the code travels. */
  type: "sms" | "email";
  /** Masked destination, `--1234` for a phone, `j--@example.com` for an address. */
  delivery_hint: string;
  /** A provider has accepted a code that can be answered now. */
  code_sent: boolean;
};

/** Why a call failed. */
export type ErrorBody = {
  /** What went wrong, from a closed set; decide on this, never on `message`. */
  code: "card_declined" | "expired_card" | "incorrect_cvc" | "insufficient_funds" | "processing_error" | "network_error" | "session_expired" | "validation_error" | "origin_not_allowed" | "rate_limited" | "challenge_required" | "challenge_failed" | "duplicate_payment" | "already_confirmed" | "insufficient_scope";
  /** One sentence that is safe to show and says what to do next. English. */
  message: string;
  /** True when the payer can put it right or try again in this session, false when the merchant must open a new one. */
  recoverable: boolean;
  request_id: string;
};
