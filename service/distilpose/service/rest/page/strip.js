// The row of thumbnails, if several photos were chosen.

import { element } from "./panel.js";

const HEIGHT = 64;

/** A button for each photo. */
export class Strip {
  #list;
  #onSelect;
  #buttons = new Map();
  #drawing = Promise.resolve();

  constructor(list, onSelect) {
    this.#list = list;
    this.#onSelect = onSelect;
  }

  add(photos) {
    for (const photo of photos) {
      const item = element("li");
      const button = element("button");
      button.type = "button";
      button.addEventListener("click", () => this.#onSelect(photo));
      button.append(document.createElement("canvas"), element("span", "mark"));
      item.append(button);
      this.#list.append(item);
      this.#buttons.set(photo, button);
      this.mark(photo);
      // Drawn one at a time, because decoded photos are large.
      this.#drawing = this.#drawing.then(() => drawSmall(photo.blob, button.firstChild));
    }
  }

  /** Shows a photo's progress. */
  mark(photo) {
    const button = this.#buttons.get(photo);
    if (!button) return;
    const count = photo.image?.poses.length;
    const signs = { done: count, failed: "!" };
    const all = photo.image?.people_found;
    const words = { done: all > count ? `${count} of ${all} found` : `${count} found`, failed: "failed" };
    button.dataset.state = photo.state;
    button.lastChild.textContent = signs[photo.state] ?? "…";
    button.ariaLabel = `${photo.name}, ${words[photo.state] ?? "waiting"}`;
  }

  select(photo) {
    for (const [of, button] of this.#buttons) button.ariaCurrent = String(of === photo);
    this.#buttons.get(photo)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  clear() {
    this.#buttons.clear();
    this.#list.replaceChildren();
  }
}

async function drawSmall(blob, canvas) {
  canvas.height = canvas.width = HEIGHT;
  const small = await createImageBitmap(blob, { resizeHeight: 2 * HEIGHT }).catch(() => null);
  if (!small) return;
  canvas.height = small.height;
  canvas.width = small.width;
  canvas.getContext("2d").drawImage(small, 0, 0);
  small.close();
}
