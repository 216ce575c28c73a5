// What the payer sees and hears: one step at a time, problems, and the list of calls.

const STEPS = ["send", "code", "captcha", "card", "done", "over"];
const FIELDS = ["code", "card"];

export const byId = (id) => document.getElementById(id);

/** Shows one of the two parts of the page, `landing` or `checkout`. */
export function showPart(part) {
  byId("landing").hidden = part !== "landing";
  byId("checkout").hidden = part !== "checkout";
  byId("calls").hidden = part !== "checkout";
  document.title = "Example Shop";
}

/** Shows one step of the checkout; its heading, or another element of it, gets the focus. */
export function showStep(step, focus) {
  hideSteps();
  const section = byId(`step-${step}`);
  section.hidden = false;
  document.title = `${section.querySelector("h1").textContent} · Example Shop`;
  if (focus) focus.focus();
  else focusHeading(section);
}

export function hideSteps() {
  STEPS.forEach((name) => (byId(`step-${name}`).hidden = true));
}

export const isShown = (step) => !byId(`step-${step}`).hidden;
export const noStepIsShown = () => !STEPS.some(isShown);

export function focusHeading(section) {
  section.querySelector("h1").focus();
}

/** Has screen readers say it when they are done with what they are saying. */
export function say(text) {
  byId("status").textContent = text;
}

/** Has screen readers say it at once. */
export function alarm(text) {
  byId("alert").textContent = text;
}

/** Keeps a button from being used. Really disabled, it would lose the focus. */
export function setDisabled(button, disabled) {
  button.ariaDisabled = disabled ? "true" : null;
}

/** Says what is wrong with what was typed into a field. */
export function showProblem(field, text, refused) {
  byId(`${field}-problem`).textContent = text;
  byId(`${field}-problem`).hidden = false;
  showDetails(byId(`${field}-details`), refused);
  byId(field).ariaInvalid = "true";
  byId(field).focus();
  byId(field).select();
  alarm(text);
}

export function hideProblems() {
  for (const field of FIELDS) {
    byId(`${field}-problem`).hidden = true;
    byId(`${field}-details`).hidden = true;
    byId(field).ariaInvalid = null;
  }
}

/** Shows what a developer wants to know of a refusal. */
export function showDetails(element, refused) {
  element.hidden = refused === undefined;
  if (!refused) return;
  const { code, recoverable, requestId } = refused;
  const parts = [code, recoverable ? "recoverable" : "not recoverable"];
  if (requestId) parts.push(`request ${requestId}`);
  element.replaceChildren(...parts.map((text) => {
    const part = document.createElement("span");
    part.textContent = text;
    return part;
  }));
}

/** Writes a call down under "What was called". */
export function showCall({ who, what, outcome, good, answer }) {
  const item = byId("call").content.cloneNode(true).firstElementChild;
  item.querySelector(".who").textContent = who;
  item.querySelector(".what").textContent = what;
  item.querySelector(".outcome").textContent = outcome;
  item.querySelector(".outcome").dataset.good = good;
  // With spaces, so that lines break where they should.
  item.querySelector(".answer").textContent = JSON.stringify(answer, null, 1)?.replace(/\n\s*/g, " ");
  byId("call-list").append(item);
}

export function forgetCalls() {
  byId("call-list").replaceChildren();
}
