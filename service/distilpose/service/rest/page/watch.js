// The live camera: each frame is sent after the previous answer has arrived, so that it is always
// the newest and none waits in a queue.

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

  /** Opens the camera and starts; returns false, after calling `onEnd`, if it did not open. */
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

  /** Stops: cancels the open request and turns off the camera. */
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

/** Waits until the page is visible; a hidden page sends nothing. */
function untilSeen(signal) {
  if (!document.hidden) return undefined;
  return new Promise((done) => {
    const options = { once: true, signal };
    document.addEventListener("visibilitychange", done, options);
    signal.addEventListener("abort", done, { once: true });
  });
}
