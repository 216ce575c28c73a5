// The checkout: which step comes when, what the payer does in it, and what the answers mean.

import { ChallengeError, Session, send, shop } from "./api.js";
import { Countdown } from "./countdown.js";
import { Phone } from "./phone.js";
import * as screen from "./screen.js";

const { byId } = screen;
const QUEUED_SECONDS = 5; // until it is worth asking again whether a queued code has gone out
const PROVIDERS = { hcaptcha: "hCaptcha", turnstile: "Turnstile" };
const TITLES = {
  already_confirmed: "Already paid",
  challenge_failed: "Too many wrong codes",
  insufficient_scope: "Not a payment session",
  network_error: "No connection",
  origin_not_allowed: "Not this shop’s session",
  processing_error: "That did not work",
  rate_limited: "Please wait",
  session_expired: "Session expired",
  validation_error: "Not a valid session",
};
const NO_SESSION = {
  code: "validation_error",
  message: "The address of this page holds no valid session.",
  recoverable: false,
  request_id: "",
};

const phone = new Phone();
const resendIn = new Countdown(byId("resend-in"));
const noticeIn = new Countdown(byId("notice-in"));
const config = await shop("GET", "/config");

let session;
let challenge;

// ── Sessions: from the menu to the address's fragment, and from there into the page ─────────────

function choose(button) {
  screen.forgetCalls();
  const body = { scenario: button.dataset.scenario };
  const via = "OpenSession, IssueChallenge";
  // The answer holds the credential, which is to be seen nowhere.
  const seen = (call) => screen.showCall({ ...call, answer: call.good ? undefined : call.answer });
  whileBusy(
    button,
    () => shop("POST", "/sessions", { body, via, seen }),
    ({ credential }) => (location.hash = `cs=${credential}`),
  );
}

/** Begins with the session of the address, or with the one that the page has had. */
function arrive(event) {
  const credential = new URLSearchParams(location.hash.slice(1)).get("cs");
  // Out of the address, where it could be read, or copied by mistake; reloads find it all the same.
  if (credential !== null) history.replaceState({ credential }, "", location.pathname);
  const kept = credential ?? history.state?.credential;
  if (kept === undefined) land(event !== undefined);
  else begin(kept);
}

function land(focus) {
  session = undefined;
  leave();
  byId("landing-problem").hidden = true;
  screen.showPart("landing");
  if (focus) screen.focusHeading(byId("landing"));
}

function begin(credential) {
  leave();
  screen.showPart("checkout");
  session = Session.from(credential);
  if (session) learnChallenge();
  else end(new ChallengeError(NO_SESSION));
}

function leave() {
  phone.switchOff();
  screen.hideSteps();
  screen.hideProblem();
  hideNotice();
  resendIn.stop();
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────

function learnChallenge() {
  hideNotice();
  const seen = screen.showCall;
  inSession(() => shop("GET", "/challenge", { session, seen, via: "GetChallenge" }), showChallenge);
}

function showChallenge(answer) {
  challenge = answer;
  switch (challenge?.type) {
    case "sms":
    case "email":
      byId("send-lead").textContent = `To protect this payment, we send a code to ${destination()}.`;
      phone.switchOn(session, challenge.type);
      if (challenge.code_sent) enterCode();
      else screen.showStep("send");
      break;
    case "hcaptcha":
    case "turnstile":
      byId("widget-provider").textContent = PROVIDERS[challenge.type];
      byId("site-key").textContent = challenge.site_key;
      resetWidget();
      screen.showStep("captcha");
      break;
    default:
      screen.showStep("none");
  }
}

function enterCode() {
  const sent = challenge.code_sent;
  byId("code-lead").textContent = sent
    ? `We sent it to ${destination()}.`
    : `It is on its way to ${destination()}; this can take a moment.`;
  if (!screen.isShown("code")) {
    byId("code").value = "";
    screen.showStep("code", byId("code"));
  }
  resendIn.start(sent ? config.resend_seconds : QUEUED_SECONDS, () => {
    updateWaits();
    screen.say("You can send a new message now.");
  });
  updateWaits();
  screen.say(byId("code-lead").textContent);
}

function destination() {
  const hint = challenge.delivery_hint;
  return challenge.type === "sms" ? `the phone ending in ${hint.replace("--", "")}` : hint;
}

// ── What the payer does ─────────────────────────────────────────────────────────────────────────

function sendCode(button) {
  whileBusy(button, () => send(config.rest_url, session, screen.showCall), (answer) => {
    hideNotice();
    if (answer?.type === challenge.type) {
      challenge = answer;
      enterCode();
      phone.look();
    } else {
      showChallenge(answer);
    }
  });
}

function confirm() {
  const code = byId("code").value.replace(/[\s-]/g, "");
  if (/^\d{6,8}$/.test(code)) verify(byId("confirm"), { code });
  else screen.showProblem("Enter the digits of the code.");
}

function prove() {
  if (byId("human").checked) {
    whileBusy(byId("prove"), proveWithToken, showVerified);
  } else {
    byId("human").focus();
    screen.alarm("Tick the box first.");
  }
}

/** Takes a token from the widget's stand-in, then has the shop check it. */
async function proveWithToken() {
  const seen = () => {}; // a provider's widget asks its provider, which is no call of ours
  const { token } = await shop("POST", "/widget", { session, body: { solved: byId("solved").value }, seen });
  return shop("POST", "/verify", { session, body: { token }, seen: screen.showCall, via: "VerifyChallenge" });
}

/** A token is judged once: whatever became of the last one, the next try needs another. */
function resetWidget() {
  byId("human").checked = false;
}

function verify(button, body) {
  const about = { session, body, seen: screen.showCall, via: "VerifyChallenge" };
  whileBusy(button, () => shop("POST", "/verify", about), showVerified);
}

function showVerified() {
  hideNotice();
  resendIn.stop();
  screen.showStep("done");
}

// ── Errors: by code, and by whether the payer can put it right ──────────────────────────────────

function fail(error) {
  if (!(error instanceof ChallengeError)) throw error;
  if (!session) failToOpen(error);
  else if (!error.recoverable) end(error);
  else if (error.code === "challenge_required") learnChallenge(); // it is another one by now
  else if (error.code === "challenge_failed") reject(error);
  else notify(error);
}

/** Not recoverable: nothing but a new session helps. */
function end(error) {
  hideNotice();
  resendIn.stop();
  byId("over-title").textContent = TITLES[error.code] ?? "This cannot go on";
  byId("over-message").textContent = error.message;
  screen.showDetails(byId("over-details"), error);
  screen.showStep("over");
  screen.alarm(`${byId("over-title").textContent}. ${error.message}`);
}

/** The code is wrong or too old, the token no proof: the payer tries another one. */
function reject(error) {
  if (screen.isShown("captcha")) return notify(error, "Not confirmed");
  const left = error.attemptsRemaining;
  const tries = left === undefined ? "" : ` ${left} ${left === 1 ? "try" : "tries"} left.`;
  screen.showProblem(error.message + tries, error);
}

/** Anything else that can be tried again, at once or later. */
function notify(error, title = TITLES[error.code] ?? "That did not work") {
  byId("notice-title").textContent = `${title}.`;
  byId("notice-message").textContent = error.message;
  screen.showDetails(byId("notice-details"), error);
  byId("retry").hidden = !screen.noStepIsShown();
  resetWidget();
  byId("notice").hidden = false;
  if (error.retryAfter !== undefined) {
    noticeIn.start(error.retryAfter, () => {
      hideNotice();
      screen.say("You can try again now.");
    });
  }
  updateWaits();
  screen.alarm(`${byId("notice-title").textContent} ${error.message}`);
}

function failToOpen(error) {
  byId("landing-problem").textContent = error.message;
  byId("landing-problem").hidden = false;
  screen.alarm(error.message);
}

function hideNotice() {
  noticeIn.stop();
  byId("notice").hidden = true;
  updateWaits();
}

/** Keeps the buttons from what the service would refuse now, and shows for how long. */
function updateWaits() {
  byId("notice-wait").hidden = !noticeIn.running;
  byId("resend-wait").hidden = !resendIn.running || noticeIn.running;
  screen.setDisabled(byId("send"), noticeIn.running);
  screen.setDisabled(byId("resend"), noticeIn.running || resendIn.running);
}

// ── Calls under way ─────────────────────────────────────────────────────────────────────────────

/** Asks, then goes on with the answer, unless the payer has left the session meanwhile. */
async function inSession(ask, then) {
  const mine = session;
  try {
    const answer = await ask();
    if (mine === session) then(answer);
  } catch (error) {
    if (mine === session) fail(error);
  }
}

/** Does what a button starts, once at a time; the button keeps the focus. */
async function whileBusy(button, ask, then) {
  if (button.ariaDisabled === "true" || button.ariaBusy === "true") return;
  screen.hideProblem();
  button.ariaBusy = "true";
  await inSession(ask, then);
  button.ariaBusy = null;
}

// ── Begin ───────────────────────────────────────────────────────────────────────────────────────

const { amount_minor: minor, currency } = config.payment;
const amount = new Intl.NumberFormat("en", { style: "currency", currency }).format(minor / 100);
byId("amount").textContent = amount;

for (const button of document.querySelectorAll("[data-scenario]")) {
  button.addEventListener("click", () => choose(button));
}
for (const control of document.querySelectorAll("[data-again]")) {
  control.addEventListener("click", (event) => {
    event.preventDefault();
    history.pushState(null, "", location.pathname);
    land(true);
  });
}
for (const button of [byId("send"), byId("resend")]) {
  button.addEventListener("click", () => sendCode(button));
}
byId("prove").addEventListener("click", prove);
byId("retry").addEventListener("click", learnChallenge);
byId("code-form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirm();
});
addEventListener("popstate", arrive); // also when the fragment changes
arrive();
