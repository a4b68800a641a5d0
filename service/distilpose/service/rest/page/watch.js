// Watching with the camera: a frame is sent when the answer to the last one is there, so that each
// is the newest and none waits.

import { Camera } from "./camera.js";
import { pause, Photo } from "./photos.js";
import { estimate, Failure } from "./service.js";

/** The camera and its loop: `onAnswer(photo, picture)`, `onPause(failure)`, `onEnd(failure or null)`. */
export class CameraWatch {
  #settings;
  #onAnswer;
  #onPause;
  #onEnd;
  #camera = null;
  #isOpening = false;
  #stop = null;

  constructor(settings, { onAnswer, onPause, onEnd }) {
    this.#settings = settings;
    this.#onAnswer = onAnswer;
    this.#onPause = onPause;
    this.#onEnd = onEnd;
  }

  get isOn() {
    return this.#camera !== null;
  }

  /** Opens the camera and starts; false if it did not open, which `onEnd` was told of. */
  async begin() {
    if (this.#isOpening) return false;
    this.#isOpening = true;
    try {
      this.#camera = await Camera.open(() => this.end());
    } catch (failure) {
      this.#onEnd(failure);
      return false;
    } finally {
      this.#isOpening = false;
    }
    this.#stop = new AbortController();
    this.#run(this.#stop.signal);
    return true;
  }

  /** Leaves off: no request stays open, the camera's light goes out. */
  end(failure = null) {
    if (!this.#camera) return;
    this.#stop.abort();
    this.#camera.close();
    this.#camera = null;
    this.#onEnd(failure);
  }

  async #run(signal) {
    try {
      while (!signal.aborted) {
        await untilSeen(signal);
        if (!signal.aborted) await this.#askForOne(signal);
      }
    } catch (failure) {
      if (!signal.aborted) this.end(failure);
    }
  }

  async #askForOne(signal) {
    const { blob, picture } = await this.#camera.frame();
    const photo = new Photo(blob, "frame.jpg");
    const settings = this.#settings();
    try {
      photo.image = await estimate(blob, { ...settings, signal });
      signal.throwIfAborted();
      Object.assign(photo, { state: "done", asked: settings.minBoxScore });
      this.#onAnswer(photo, picture);
    } catch (failure) {
      picture.close();
      if (!(failure instanceof Failure) || failure.waitSeconds === null) throw failure;
      this.#onPause(failure);
      await pause(failure.waitSeconds, signal);
    }
  }
}

/** Returns while somebody looks at the page; a hidden one asks for nothing. */
function untilSeen(signal) {
  if (!document.hidden) return undefined;
  return new Promise((done) => {
    const options = { once: true, signal };
    document.addEventListener("visibilitychange", done, options);
    signal.addEventListener("abort", done, { once: true });
  });
}
