// Seconds that are shown running down.

/** Shows how long it still takes, in one element, until it is over. */
export class Countdown {
  #element;
  #timer;
  #until = 0;
  #done = () => {};

  constructor(element) {
    this.#element = element;
  }

  get running() {
    return this.#timer !== undefined;
  }

  start(seconds, done) {
    this.stop();
    this.#until = Date.now() + seconds * 1000;
    this.#done = done;
    this.#tick();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#element.textContent = "";
  }

  #tick() {
    // By the clock, not by counting: timers are late in the background.
    const left = this.#until - Date.now();
    if (left <= 0) {
      this.stop();
      this.#done();
      return;
    }
    this.#element.textContent = asText(Math.ceil(left / 1000));
    this.#timer = setTimeout(() => this.#tick(), left % 1000 || 1000);
  }
}

/** Writes seconds as 0:09, 12:30 or 1:00:00. */
export function asText(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map(Math.trunc);
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
