// The captcha's widget. A shop loads the provider's script here; this page has a stand-in.

import { shop } from "./api.js";
import { alarm, byId } from "./screen.js";

const PROVIDERS = { hcaptcha: "hCaptcha", turnstile: "Turnstile" };

export function showWidget({ type, site_key: siteKey }) {
  byId("widget-provider").textContent = PROVIDERS[type];
  byId("site-key").textContent = siteKey;
  resetWidget();
}

/** A token is judged once: whatever became of the last one, the next try needs another. */
export function resetWidget() {
  byId("human").checked = false;
}

/** Whether the payer has done what the widget asks; if not, it says so. */
export function isSolved() {
  if (byId("human").checked) return true;
  byId("human").focus();
  alarm("Tick the box first.");
  return false;
}

/** Has a token made; a provider's widget asks its provider, which is no call of ours. */
export async function makeToken(session) {
  const body = { solved: byId("solved").value };
  const { token } = await shop("POST", "/widget", { session, body });
  return token;
}
