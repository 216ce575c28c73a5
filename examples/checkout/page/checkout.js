// The checkout: which step comes when, what the payer does in it, and what the answers mean.

import { ChallengeError, Session, send, shop } from "./api.js";
import { clear, hideNotice, notify, waitForResend } from "./notice.js";
import { pay } from "./paying.js";
import { Phone } from "./phone.js";
import * as screen from "./screen.js";
import { isSolved, makeToken, resetWidget, showWidget } from "./widget.js";

const { byId } = screen;
const QUEUED_SECONDS = 5; // until it is worth asking again whether a queued code has gone out
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const WAYS = { sms: "Send a text message instead", email: "Send an email instead" };
const TITLES = {
  already_confirmed: "Already paid",
  challenge_failed: "Too many wrong codes",
  insufficient_scope: "Not a payment session",
  origin_not_allowed: "Not this shop’s session",
  processing_error: "That did not work",
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
const config = await shop("GET", "/config");

let session;
let challenge;

// ── Sessions: from the menu to the address's fragment, and from there into the page ─────────────

function choose(button) {
  screen.forgetCalls();
  byId("solved").value = button.dataset.solved ?? "human";
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
  if (session) learnSale();
  else end(new ChallengeError(NO_SESSION));
}

function leave() {
  phone.switchOff();
  screen.hideSteps();
  screen.hideProblems();
  clear();
  byId("evidence").hidden = true;
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────

function learnSale() {
  hideNotice();
  // Of what the shop knows, only the challenge comes from the service.
  const seen = (call) => screen.showCall({ ...call, answer: call.good ? call.answer.challenge : call.answer });
  inSession(() => shop("GET", "/sale", { session, seen, via: "GetChallenge" }), showSale);
}

function showSale(sale) {
  byId("card-end").textContent = sale.card;
  byId("evidence").firstElementChild.href = `${sale.evidence}?${new URLSearchParams({ zone: ZONE })}`;
  byId("evidence").hidden = false;
  if (sale.outcome) finish();
  else showChallenge(sale.challenge, sale.other_way);
}

/** Shows the step that the challenge asks for; `lead` says what comes before a code. */
function showChallenge(answer, other = "", lead = "To protect this payment, we send a code to") {
  challenge = answer;
  switch (challenge?.type) {
    case "sms":
    case "email":
      byId("send-lead").textContent = `${lead} ${destination()}.`;
      phone.switchOn(session, challenge.type);
      if (challenge.code_sent) enterCode();
      else screen.showStep("send");
      break;
    case "hcaptcha":
    case "turnstile":
      showWidget(challenge);
      screen.showStep("captcha");
      break;
    default:
      enterCard("You have nothing to prove: the payment can go ahead.");
  }
  offer(challenge ? other : "");
}

function offer(other) {
  byId("other-way").textContent = WAYS[other] ?? "";
  byId("another").hidden = !other;
}

function enterCard(lead) {
  byId("card-lead").textContent = lead;
  if (!screen.isShown("card")) screen.showStep("card", byId("card"));
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
  waitForResend(sent ? config.resend_seconds : QUEUED_SECONDS);
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
      showInstead(answer);
    }
  });
}

function useOtherWay(button) {
  const about = { session, body: {}, seen: screen.showCall, via: "UseFallback" };
  whileBusy(button, () => shop("POST", "/other-way", about), (answer) => {
    hideNotice();
    showChallenge(answer.challenge);
  });
}

/** Has the shop confirm the payment, with what the payer gives for it. */
function confirm(button, give) {
  whileBusy(button, async () => pay(session, await give()), finish);
}

function confirmWithCode() {
  const code = digitsIn("code");
  if (/^\d{6,8}$/.test(code)) confirm(byId("confirm"), () => ({ code, type: challenge.type }));
  else screen.showProblem("code", "Enter the digits of the code.");
}

function confirmWithToken() {
  if (!isSolved()) return;
  screen.say("Checking. This can take a few seconds.");
  const { type } = challenge;
  confirm(byId("prove"), async () => ({ token: await makeToken(session), type }));
}

function confirmWithCard() {
  const card = digitsIn("card");
  if (/^\d{12,19}$/.test(card)) {
    byId("card-end").textContent = card.slice(-4);
    confirm(byId("pay"), () => ({ card }));
  } else {
    screen.showProblem("card", "Enter the number of the card.");
  }
}

/** What was typed into a field, without what people put between digits. */
const digitsIn = (field) => byId(field).value.replace(/[\s-]/g, "");

function finish() {
  clear();
  const card = byId("card-end").textContent;
  byId("done-lead").textContent = `The card ending in ${card} is charged, and the session is complete.`;
  screen.showStep("done");
}

// ── Errors: by code, and by whether the payer can put it right ──────────────────────────────────

function fail(error) {
  if (!(error instanceof ChallengeError)) throw error;
  if (!session) failToOpen(error);
  else if (!error.recoverable) end(error);
  else if (error.code === "card_declined") decline(error);
  else if (error.code === "challenge_failed" && !screen.isShown("captcha")) reject(error);
  else if (isNews(error.challenge)) showInstead(error.challenge);
  else advise(error);
}

/** Not recoverable: nothing more helps in this session. */
function end(error) {
  clear();
  byId("over-title").textContent = TITLES[error.code] ?? "This cannot go on";
  byId("over-message").textContent = error.message;
  screen.showDetails(byId("over-details"), error);
  screen.showStep("over");
  screen.alarm(`${byId("over-title").textContent}. ${error.message}`);
}

/** The payer has proven it, which holds for the next card too. */
function decline(error) {
  clear();
  enterCard("You’re confirmed already, and that holds for the next card.");
  screen.showProblem("card", error.message, error);
}

/** Whether the challenge is another one than the payer sees: its fallback's, or the proof has ended. */
function isNews(answer) {
  return answer !== undefined && (answer.type !== challenge?.type || screen.isShown("card"));
}

function showInstead(answer) {
  const lead = challenge ? "That way did not work. Instead, we send a code to" : undefined;
  hideNotice();
  showChallenge(answer, "", lead);
  if (screen.isShown("send")) screen.say(byId("send-lead").textContent);
}

/** The code is wrong or too old: the payer tries another one. */
function reject(error) {
  const left = error.attemptsRemaining;
  const tries = left === undefined ? "" : ` ${left} ${left === 1 ? "try" : "tries"} left.`;
  screen.showProblem("code", error.message + tries, error);
}

/** Anything else that can be tried again, at once or later. */
function advise(error) {
  resetWidget();
  notify(error, error.code === "challenge_failed" ? "Not confirmed" : undefined);
}

function failToOpen(error) {
  byId("landing-problem").textContent = error.message;
  byId("landing-problem").hidden = false;
  screen.alarm(error.message);
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
  screen.hideProblems();
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
byId("prove").addEventListener("click", confirmWithToken);
byId("other-way").addEventListener("click", () => useOtherWay(byId("other-way")));
byId("pay-again").addEventListener("click", () => confirm(byId("pay-again"), () => ({})));
byId("retry").addEventListener("click", learnSale);
for (const [form, submit] of [["code-form", confirmWithCode], ["card-form", confirmWithCard]]) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}
addEventListener("popstate", arrive); // also when the fragment changes
arrive();
