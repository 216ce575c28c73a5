// The payer's phone beside the page. A demonstration has one; a shop's page does not.

import { shop } from "./api.js";

const EVERY_MS = 1000;
const byId = (id) => document.getElementById(id);

/** Shows what comes to the session's phone or mailbox, as long as it is switched on. */
export class Phone {
  #watched; // { session, type }
  #timer;
  #shown = new Set();

  switchOn(session, type) {
    this.switchOff();
    this.#watched = { session, type };
    byId("phone-title").textContent = type === "sms" ? "Messages" : "Mail";
    byId("phone").dataset.type = type;
    byId("phone").hidden = false;
    this.look();
  }

  switchOff() {
    clearTimeout(this.#timer);
    this.#watched = undefined;
    this.#shown.clear();
    byId("phone").hidden = true;
    byId("phone-empty").hidden = false;
    byId("phone-address").textContent = "";
    byId("messages").replaceChildren();
  }

  /** Looks for new messages now, and from then on every second. */
  async look() {
    clearTimeout(this.#timer);
    const watched = this.#watched;
    try {
      const { recipient, messages } = await shop("GET", `/messages/${watched.type}`, watched);
      if (watched !== this.#watched) return;
      byId("phone-address").textContent = `To ${recipient}`;
      messages.forEach((message) => this.#show(message));
    } catch {
      // The shop is gone; it may come back.
    }
    if (watched !== this.#watched) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.look(), EVERY_MS);
  }

  #show(message) {
    if (this.#shown.has(message.id)) return;
    this.#shown.add(message.id);
    const item = byId("message").content.cloneNode(true).firstElementChild;
    const at = new Date(message.received_at);
    item.querySelector(".subject").textContent = message.subject ?? "";
    item.querySelector(".text").replaceChildren(...withCode(message.text.trim()));
    item.querySelector("time").dateTime = message.received_at;
    item.querySelector("time").textContent = at.toLocaleTimeString("en", { timeStyle: "short" });
    byId("phone-empty").hidden = true;
    byId("messages").append(item);
    byId("log").scrollTop = item.offsetTop - byId("messages").offsetTop;
  }
}

/** Sets the code off from the text around it. */
function withCode(text) {
  const code = /\b\d{6,8}\b/.exec(text);
  if (!code) return [text];
  const strong = document.createElement("b");
  strong.textContent = code[0];
  return [text.slice(0, code.index), strong, text.slice(code.index + code[0].length)];
}
