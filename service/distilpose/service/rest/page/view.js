// The canvas, scaled to fit at the screen's resolution, and a readout of the keypoint hovered over.

import { draw, onCanvas } from "./draw.js";
import { readable } from "./panel.js";

const MOST_ENLARGED = 2;
const REACH = 14;

/** Shows one picture with people at a time. */
export class PictureView {
  #canvas;
  #frame;
  #readout;
  #image = null; // {picture, width, height}: the upright picture, or null if it cannot be displayed
  #people = [];
  #look = {};

  constructor(canvas, frame, readout) {
    this.#canvas = canvas;
    this.#frame = frame;
    this.#readout = readout;
    new ResizeObserver(() => this.#draw()).observe(frame);
    addEventListener("resize", () => this.#draw());
    canvas.addEventListener("pointermove", (event) => this.#read(event));
    canvas.addEventListener("pointerleave", () => (readout.textContent = ""));
  }

  /** Draws the image with people; a null `image` clears the view. */
  show(image, people, look) {
    this.#image = image;
    this.#people = people;
    this.#look = look;
    this.#canvas.hidden = !image;
    if (!image) this.#readout.textContent = "";
    this.#draw();
  }

  /** The drawn picture at the image's full size, as a PNG. */
  async picture() {
    const full = document.createElement("canvas");
    full.width = this.#image.width;
    full.height = this.#image.height;
    const pixelRatio = Math.max(1, Math.max(full.width, full.height) / 1000);
    draw(full.getContext("2d"), this.#image, this.#people, { ...this.#look, pixelRatio, chosen: null });
    return new Promise((done) => full.toBlob(done, "image/png"));
  }

  #draw() {
    if (!this.#image) return;
    const pixelRatio = window.devicePixelRatio || 1;
    const most = Number.parseFloat(getComputedStyle(this.#canvas).maxHeight);
    const { width, height } = this.#image;
    const scale = Math.min(this.#frame.clientWidth / width, most / height, MOST_ENLARGED);
    this.#canvas.style.width = `${width * scale}px`;
    this.#canvas.width = Math.max(1, Math.round(width * scale * pixelRatio));
    this.#canvas.height = Math.max(1, Math.round(height * scale * pixelRatio));
    draw(this.#canvas.getContext("2d"), this.#image, this.#people, { ...this.#look, pixelRatio });
  }

  #read(event) {
    const scale = this.#canvas.clientWidth / this.#image.width;
    let [nearest, least] = ["", REACH];
    for (const { number, pose } of this.#people) {
      for (const keypoint of pose.keypoints) {
        if (keypoint.score < this.#look.minKeypointScore) continue;
        const distance = Math.hypot(
          onCanvas(keypoint.x, scale) - event.offsetX,
          onCanvas(keypoint.y, scale) - event.offsetY,
        );
        if (distance < least) [nearest, least] = [describe(number, keypoint), distance];
      }
    }
    this.#readout.textContent = nearest;
  }
}

function describe(number, { name, x, y, score, sigma_x: sigmaX, sigma_y: sigmaY }) {
  const place = `x ${x.toFixed(1)}, y ${y.toFixed(1)}`;
  const sigma = `sigma ${sigmaX.toFixed(1)} × ${sigmaY.toFixed(1)} px`;
  return `Person ${number} · ${readable(name)} · score ${score.toFixed(2)} · ${place} · ${sigma}`;
}
