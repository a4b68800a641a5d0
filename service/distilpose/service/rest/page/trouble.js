// Displays a failure: the problem, the remedy, and what the page does next.

import { element } from "./panel.js";

/** The place for at most one failure. */
export class Trouble {
  #place;
  #failure = null;
  #timer = 0;

  constructor(place) {
    this.#place = place;
  }

  /**
   * Shows a failure, or none; returns true if it is new. `onAgain` is the action of a retry button;
   * without it, the page is assumed to retry by itself.
   */
  show(failure, onAgain = null) {
    if (failure === this.#failure) return false;
    this.#failure = failure;
    clearInterval(this.#timer);
    this.#place.replaceChildren(...(failure ? this.#lines(failure, onAgain) : []));
    return true;
  }

  #lines(failure, onAgain) {
    const text = element("p");
    text.append(element("strong", "", failure.title), ` ${failure.detail}`);
    const lines = [text];
    if (!onAgain && failure.waitSeconds !== null) {
      lines.push(this.#countdown(failure.waitSeconds));
    } else if (onAgain && failure.mayPass) {
      const again = element("button", "", "Try again");
      again.type = "button";
      again.addEventListener("click", onAgain);
      lines.push(again);
    }
    if (failure.requestId) lines.push(element("p", "hint", `Request ${failure.requestId}`));
    return lines;
  }

  /** A visible countdown that screen readers announce only once. */
  #countdown(seconds) {
    const line = element("p");
    const said = (left) => `Trying again in ${left} ${left === 1 ? "second" : "seconds"}.`;
    const seen = element("span", "", said(seconds));
    seen.ariaHidden = "true";
    line.append(element("span", "unseen", said(seconds)), seen);
    let left = seconds;
    this.#timer = setInterval(() => {
      left = Math.max(0, left - 1);
      seen.textContent = said(left);
    }, 1000);
    return line;
  }
}
