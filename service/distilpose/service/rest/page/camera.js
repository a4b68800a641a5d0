// The camera: opened, asked for its newest frame, closed.

import { Failure } from "./service.js";

const WIDTH = 1280;
const QUALITY = 0.85;

/** An open camera. `onEnded` is called if it goes away by itself. */
export class Camera {
  /** Asks for the camera and waits for its first frame. Throws a Failure. */
  static async open(onEnded) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Failure(
        "No camera here",
        "Browsers give the camera only to pages that come over https:// or from localhost.",
      );
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDTH } } });
    } catch (error) {
      throw new Failure("The camera does not start", reasonOf(error));
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

  /** The newest frame: {blob, picture}, one and the same image as a JPEG and to draw. */
  async frame() {
    this.#canvas.width = this.#video.videoWidth;
    this.#canvas.height = this.#video.videoHeight;
    this.#canvas.getContext("2d").drawImage(this.#video, 0, 0);
    const picture = createImageBitmap(this.#canvas);
    const blob = await new Promise((done) => this.#canvas.toBlob(done, "image/jpeg", QUALITY));
    return { blob, picture: await picture };
  }

  /** Turns it off, its light too. */
  close() {
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
  }
}

function reasonOf(error) {
  const known = {
    NotAllowedError: "The browser was not allowed to use it. The address bar has the permission.",
    NotFoundError: "No camera was found.",
    NotReadableError: "Another program is using it.",
  };
  return known[error.name] ?? error.message;
}
