// The chosen photos, their states, and the requests for their answers.

import { estimate, Failure } from "./service.js";

const MOST_PAUSE_SECONDS = 10;

/** One picture with its state and the service's answer. */
export class Photo {
  image = null; // the answer: width, height, people_found, poses, timing, roundTrip
  asked = null; // the minimum box score of the request
  failure = null;
  state = "waiting"; // then "asking" or "pausing", then "done" or "failed"

  constructor(blob, name) {
    this.blob = blob;
    this.name = name;
  }

  /** The answered people with at least this box score, numbered. */
  people(minBoxScore) {
    const poses = this.image?.poses ?? [];
    return poses
      .filter((pose) => pose.box_score >= minBoxScore)
      .map((pose, index) => ({ number: index + 1, pose }));
  }
}

/** Requests answers one photo at a time, and retries when the service allows it. */
export class Asking {
  #photos = [];
  #working = false;
  #stop = new AbortController();
  #settings;
  #onChange;

  /** `settings()` gives {minBoxScore, minKeypointScore, key}; `onChange(photo)` is called at each change. */
  constructor(settings, onChange) {
    this.#settings = settings;
    this.#onChange = onChange;
  }

  get photos() {
    return this.#photos;
  }

  add(photos) {
    this.#photos.push(...photos);
  }

  /** Removes all photos and cancels the open request. */
  clear() {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#photos = [];
  }

  /** Marks a photo to be requested again. */
  again(photo) {
    Object.assign(photo, { state: "waiting", failure: null });
  }

  /** Requests answers until no photo waits; `first()` goes before the others. */
  async work(first) {
    if (this.#working) return;
    this.#working = true;
    try {
      let photo;
      while ((photo = this.#next(first()))) await this.#ask(photo);
    } finally {
      this.#working = false;
    }
  }

  #next(first) {
    const waits = (photo) => photo?.state === "waiting" && this.#photos.includes(photo);
    return waits(first) ? first : this.#photos.find(waits);
  }

  async #ask(photo) {
    const { signal } = this.#stop;
    for (let tries = 0; photo.state !== "done" && photo.state !== "failed"; tries += 1) {
      this.#change(photo, { state: "asking" });
      const settings = this.#settings();
      try {
        const image = await estimate(photo.blob, { ...settings, signal });
        const asked = settings.minBoxScore;
        this.#change(photo, { state: "done", image, asked, failure: null });
      } catch (failure) {
        if (signal.aborted) return;
        await this.#afterFailure(photo, failure, tries, signal);
        if (signal.aborted) return;
      }
    }
  }

  async #afterFailure(photo, failure, tries, signal) {
    if (!(failure instanceof Failure)) throw failure;
    if (failure.waitSeconds === null) {
      this.#change(photo, { state: "failed", failure });
      return;
    }
    failure.waitSeconds = Math.max(failure.waitSeconds, Math.min(2 ** tries, MOST_PAUSE_SECONDS));
    this.#change(photo, { state: "pausing", failure });
    await pause(failure.waitSeconds, signal);
  }

  #change(photo, values) {
    Object.assign(photo, values);
    this.#onChange(photo);
  }
}

/** Returns after this many seconds, or as soon as the signal aborts. */
export function pause(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    const leave = () => {
      clearTimeout(timer);
      done();
    };
    signal.addEventListener("abort", leave, { once: true });
  });
}
