// The page's event handlers. Everything displayed follows from `shown` and the controls.

import { CameraWatch } from "./watch.js";
import { curlLine, element, PeopleList, showTimes } from "./panel.js";
import { Asking, Photo } from "./photos.js";
import { Failure, model } from "./service.js";
import { Strip } from "./strip.js";
import { Trouble } from "./trouble.js";
import { PictureView } from "./view.js";

const at = (id) => document.getElementById(id);
const sliders = [at("min-box-score"), at("min-keypoint-score")];
const checkboxes = [...document.querySelectorAll("fieldset input")];
const maxBytes = Number(at("files").dataset.maxBytes);

let key = "";
let wanted = null; // the Photo to be shown as soon as it is decoded
let shown = null; // the Photo on the canvas
let picture = null; // its pixels, or null if the browser cannot display the format
let chosen = null; // the number of the person pointed at

const view = new PictureView(at("canvas"), at("frame"), at("readout"));
const trouble = new Trouble(at("trouble"));
const strip = new Strip(at("strip"), (photo) => show(photo));
const people = new PeopleList(at("people"), (number) => {
  chosen = number;
  paint();
});
const asking = new Asking(settings, (photo) => {
  strip.mark(photo);
  if (photo !== shown) return;
  askIfDue();
  refresh();
  if (photo.image && !at("model").textContent) showModel();
});
const watch = new CameraWatch(settings, {
  onAnswer: showFrame,
  onPause: (failure) => trouble.show(failure),
  onEnd: cameraEnded,
});

function settings() {
  return { minBoxScore: Number(sliders[0].value), minKeypointScore: Number(sliders[1].value), key };
}

// ---- display

/** Puts a photo on the canvas, and requests its answer if needed. */
async function show(photo) {
  wanted = photo;
  const pixels = await createImageBitmap(photo.blob).catch(() => null);
  if (wanted !== photo) {
    pixels?.close();
    return;
  }
  shown = photo;
  replacePicture(pixels);
  strip.select(photo);
  askIfDue();
  refresh();
}

function showFrame(photo, pixels) {
  shown = photo;
  replacePicture(pixels);
  trouble.show(null);
  refresh();
}

function replacePicture(pixels) {
  picture?.close();
  picture = pixels;
}

/** Updates everything that depends on the photo, its answer and the controls. */
function refresh() {
  const isAsking = shown?.state === "asking" || shown?.state === "waiting";
  at("empty").hidden = Boolean(shown);
  at("busy").hidden = !isAsking;
  at("stage").ariaBusy = String(isAsking);
  at("clear").hidden = !shown || watch.isOn;
  at("save").hidden = !shown?.image;
  at("times").hidden = !shown?.image;
  if (shown?.image) showTimes(at("times").querySelector("tbody"), shown.image);
  if (!watch.isOn) showFailure(shown?.failure ?? null);
  paint();
}

function showFailure(failure) {
  const isOver = shown?.state !== "pausing" && shown?.state !== "asking";
  const isNew = trouble.show(failure, isOver ? again : null);
  if (isNew && failure?.wantsKey) askForKey();
}

/** Updates what the sliders and checkboxes affect: the drawing, the list, the curl line. */
function paint() {
  const values = settings();
  const found = shown?.people(values.minBoxScore) ?? [];
  const image = imageToDraw();
  view.show(image, found, {
    ...drawn(),
    minKeypointScore: values.minKeypointScore,
    chosen: found.some(({ number }) => number === chosen) ? chosen : null,
  });
  people.show(found, values.minKeypointScore);
  at("blank").hidden = !shown || Boolean(image);
  at("blank").textContent = shown?.name ?? "";
  const said = status(found.length);
  if (at("status").textContent !== said) at("status").textContent = said;
  at("canvas").ariaLabel = image ? `${shown.name}: ${said}` : "No picture yet";
  at("sigma-legend").hidden = !at("draw-sigmas").checked;
  at("curl").textContent = curlLine(shown, { ...values, withKey: Boolean(key) });
  for (const slider of sliders) {
    slider.parentElement.querySelector("output").textContent = readable(slider.value);
  }
}

/** Two decimals, or all decimals of the service's own value. */
function readable(value) {
  const rounded = Number(value).toFixed(2);
  return Number(rounded) === Number(value) ? rounded : value;
}

/** Rounds to hundredths when the slider moves; until then the service's own value is kept exactly. */
function slide({ target }) {
  target.value = Number(target.value).toFixed(2);
  paint();
}

function imageToDraw() {
  const { width, height } = shown?.image ?? picture ?? {};
  return width ? { picture, width, height } : null;
}

function drawn() {
  return Object.fromEntries(checkboxes.map((box) => [box.id.replace("draw-", ""), box.checked]));
}

function status(count) {
  if (!shown) return "No picture yet.";
  if (!shown.image) {
    return { failed: "No answer.", pausing: "Waiting." }[shown.state] ?? "Looking for people…";
  }
  if (!count) return shown.image.poses.length ? "No people above this box score." : "No people found.";
  const blind = picture ? "" : " This browser cannot display this image format.";
  return `${counted(count, shown.image)}${blind}`;
}

/** The service answers only the best boxes of a crowd; with fewer shown, those below are hidden. */
function counted(count, { poses, people_found: found }) {
  if (count === poses.length && found > count) return `${count} of ${found} people shown.`;
  return `${count} ${count === 1 ? "person" : "people"} found.`;
}

// ---- photos

function take(files) {
  if (!files.length) return;
  watch.end();
  const photos = [...files].map((file) => new Photo(file, file.name));
  for (const photo of photos) {
    if (photo.blob.size > maxBytes) Object.assign(photo, { state: "failed", failure: tooLarge(photo) });
  }
  asking.add(photos);
  strip.add(photos);
  at("strip").hidden = asking.photos.length < 2;
  show(photos[0]);
}

function tooLarge({ blob }) {
  const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
  return new Failure(
    "The picture is too large",
    `The file is ${mebibytes(blob.size)}; the service accepts up to ${mebibytes(maxBytes)}.`,
  );
}

/** A box score below the requested one needs another answer; a higher one only hides people. */
function askIfDue() {
  if (!shown || watch.isOn) return;
  if (shown.state === "done" && settings().minBoxScore < shown.asked) asking.again(shown);
  asking.work(() => shown);
}

function again() {
  asking.again(shown);
  askIfDue();
  refresh();
}

function clear() {
  asking.clear();
  strip.clear();
  wanted = shown = null;
  at("strip").hidden = true;
  replacePicture(null);
  refresh();
  at("choose").focus();
}

// ---- the key

function askForKey() {
  offerKey();
  at("key").focus();
}

function offerKey() {
  at("key-section").hidden = false;
  at("have-key").hidden = true;
}

function useKey(event) {
  event.preventDefault();
  key = at("key").value.trim();
  asking.photos.filter((photo) => photo.failure?.wantsKey).forEach((photo) => asking.again(photo));
  askIfDue();
  refresh();
  showModel();
}

async function showModel() {
  try {
    const { name, version, device, dtype, engine } = await model(key);
    at("model").textContent = `${name} ${version} · ${engine}, ${dtype} · ${device}`;
  } catch (failure) {
    if (failure.wantsKey) offerKey();
  }
}

// ---- the camera

async function turnCamera() {
  if (watch.isOn) {
    watch.end();
    return;
  }
  clear();
  at("camera").focus();
  if (!(await watch.begin())) return;
  at("camera").textContent = "Stop the camera";
  at("camera").classList.add("live");
}

function cameraEnded(failure) {
  at("camera").textContent = "Use the camera";
  at("camera").classList.remove("live");
  if (shown) {
    asking.add([shown]); // the last frame stays, as a photo like any other
    strip.add([shown]);
  }
  refresh();
  showFailure(failure);
}

// ---- user input

at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", () => {
  take(at("files").files);
  at("files").value = "";
});
at("camera").addEventListener("click", turnCamera);
at("clear").addEventListener("click", clear);
at("key-form").addEventListener("submit", useKey);
at("have-key").addEventListener("click", askForKey);
sliders.forEach((slider) => slider.addEventListener("input", slide));
sliders[0].addEventListener("change", () => {
  askIfDue();
  refresh();
});
checkboxes.forEach((box) => box.addEventListener("change", paint));

at("save").addEventListener("click", async () => {
  const link = element("a");
  link.href = URL.createObjectURL(await view.picture());
  link.download = `${shown.name.replace(/\.\w+$/, "")}-poses.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

at("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(at("curl").textContent);
    at("copied").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(at("curl"));
    at("copied").textContent = "Selected: copy it with your keyboard";
  }
  setTimeout(() => (at("copied").textContent = ""), 4000);
});

for (const event of ["dragover", "drop"]) {
  document.addEventListener(event, (drag) => drag.preventDefault());
}
document.addEventListener("dragover", () => document.body.classList.add("dragging"));
document.addEventListener("dragleave", (drag) => {
  if (!drag.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (drag) => {
  document.body.classList.remove("dragging");
  take(drag.dataTransfer.files);
});
document.addEventListener("paste", (paste) => take(paste.clipboardData.files));
addEventListener("pagehide", () => watch.end());

refresh();
showModel();
