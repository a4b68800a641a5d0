// The camera: open it, take its newest frame, close it.

import { Failure } from "./service.js";

const WIDTH = 1280;
const QUALITY = 0.85;

/** An open camera. `onEnded` is called if it is disconnected. */
export class Camera {
  /** Opens the camera and waits for its first frame. Throws a Failure. */
  static async open(onEnded) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Failure(
        "No camera available",
        "Browsers allow camera access only on https:// pages and on localhost.",
      );
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDTH } } });
    } catch (error) {
      throw new Failure("The camera could not be started", reasonOf(error));
    }
    const camera = new Camera(stream);
    stream.getVideoTracks()[0].addEventListener("ended", onEnded);
    await camera.#video.play();
    return camera;
  }

  #stream;
  #video = document.createElement("video");
  #canvas = document.createElement("canvas");

  constructor(stream) {
    this.#stream = stream;
    this.#video.muted = this.#video.playsInline = true;
    this.#video.srcObject = stream;
  }

  /** The newest frame as {blob, picture}: the same image as a JPEG and as a bitmap to draw. */
  async frame() {
    this.#canvas.width = this.#video.videoWidth;
    this.#canvas.height = this.#video.videoHeight;
    this.#canvas.getContext("2d").drawImage(this.#video, 0, 0);
    const picture = createImageBitmap(this.#canvas);
    const blob = await new Promise((done) => this.#canvas.toBlob(done, "image/jpeg", QUALITY));
    return { blob, picture: await picture };
  }

  /** Turns the camera off, including its light. */
  close() {
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
  }
}

function reasonOf(error) {
  const known = {
    NotAllowedError: "Access was denied. You can allow it in the browser's address bar.",
    NotFoundError: "No camera was found.",
    NotReadableError: "Another program is using the camera.",
  };
  return known[error.name] ?? error.message;
}
