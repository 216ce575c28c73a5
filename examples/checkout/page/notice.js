// What the payer can put right, below the step that it belongs to, and how long that takes.

import { Countdown } from "./countdown.js";
import * as screen from "./screen.js";

const { byId } = screen;
const TITLES = { network_error: "No connection", rate_limited: "Please wait" };
const noticeIn = new Countdown(byId("notice-in"));
const resendIn = new Countdown(byId("resend-in"));

/** Shows a refusal that the payer can do something about, at once or later. */
export function notify(error, title = TITLES[error.code] ?? "That did not work") {
  byId("notice-title").textContent = `${title}.`;
  byId("notice-message").textContent = error.message;
  screen.showDetails(byId("notice-details"), error);
  byId("retry").hidden = !screen.noStepIsShown();
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

export function hideNotice() {
  noticeIn.stop();
  byId("notice").hidden = true;
  updateWaits();
}

/** Keeps the payer from asking for another message, as long as the service would send none. */
export function waitForResend(seconds) {
  resendIn.start(seconds, () => {
    updateWaits();
    screen.say("You can send a new message now.");
  });
  updateWaits();
}

/** Forgets notice and waits. */
export function clear() {
  resendIn.stop();
  hideNotice();
}

/** Keeps the buttons from what the service would refuse now, and shows for how long. */
function updateWaits() {
  byId("notice-wait").hidden = !noticeIn.running;
  byId("resend-wait").hidden = !resendIn.running || noticeIn.running;
  screen.setDisabled(byId("send"), noticeIn.running);
  screen.setDisabled(byId("resend"), noticeIn.running || resendIn.running);
}
