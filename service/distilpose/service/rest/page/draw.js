// A picture with boxes, skeletons and sigma ellipses on a canvas, as the service draws them.
// Left parts are orange, right ones blue, middle ones white; keypoints below the minimum score are
// left out, with their limbs. Lines have a dark edge, so that they stand out on light photos too.

import { LIMBS, sideOf, sideOfLimb } from "./skeleton.js";

const COLOURS = {
  left: "rgb(255 145 30)",
  right: "rgb(45 160 255)",
  middle: "rgb(245 245 245)",
};
const EDGE = "rgb(20 20 25)";
const NO_PICTURE = "rgb(110 116 122)";

/**
 * Draws on all of the context's canvas, which shows an image of `image.width` pixels.
 * `people` are {number, pose}; `look` holds the options: skeletons, sigmas, boxes,
 * minKeypointScore, pixelRatio (canvas pixels that look like one) and chosen (a number, or null).
 */
export function draw(context, image, people, look) {
  const { canvas } = context;
  if (image.picture) {
    context.drawImage(image.picture, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = NO_PICTURE;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const scale = canvas.width / image.width;
  const figures = people.map((person) => figureOf(person, scale, look));
  context.lineCap = context.lineJoin = "round";
  if (look.sigmas) figures.forEach((figure) => drawSigmas(context, figure));
  if (look.boxes) figures.forEach((figure) => drawBox(context, figure, look));
  if (look.skeletons) figures.forEach((figure) => drawSkeleton(context, figure));
  if (look.boxes) figures.forEach((figure) => drawLabel(context, figure, look));
}

/** Converts image pixels to canvas pixels; the centre of image pixel 0 is at 0. */
export function onCanvas(value, scale) {
  return (value + 0.5) * scale;
}

function figureOf({ number, pose }, scale, look) {
  const box = pose.box.map((value) => onCanvas(value, scale));
  const side = Math.sqrt(Math.max(1, (box[2] - box[0]) * (box[3] - box[1])));
  return {
    number,
    score: pose.score,
    box,
    faded: look.chosen !== null && look.chosen !== number,
    limb: Math.min(Math.max(side / 60, 1.5 * look.pixelRatio), 4.5 * look.pixelRatio),
    points: pose.keypoints.map((keypoint) => ({
      x: onCanvas(keypoint.x, scale),
      y: onCanvas(keypoint.y, scale),
      radiusX: keypoint.sigma_x * scale,
      radiusY: keypoint.sigma_y * scale,
      isVisible: keypoint.score >= look.minKeypointScore,
    })),
  };
}

function drawSigmas(context, figure) {
  figure.points.forEach((point, index) => {
    if (!point.isVisible) return;
    context.beginPath();
    context.ellipse(point.x, point.y, point.radiusX, point.radiusY, 0, 0, 2 * Math.PI);
    context.fillStyle = context.strokeStyle = COLOURS[sideOf(index)];
    context.globalAlpha = figure.faded ? 0.04 : 0.16;
    context.fill();
    context.globalAlpha = figure.faded ? 0.12 : 0.6;
    context.lineWidth = Math.max(1, figure.limb / 3);
    context.stroke();
  });
  context.globalAlpha = 1;
}

function drawBox(context, figure, look) {
  const [x1, y1, x2, y2] = figure.box;
  context.globalAlpha = figure.faded ? 0.25 : 0.75;
  for (const [colour, width] of [[EDGE, 2.6], [COLOURS.middle, 1.2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * look.pixelRatio;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  context.globalAlpha = 1;
}

function drawSkeleton(context, figure) {
  context.globalAlpha = figure.faded ? 0.2 : 1;
  drawLimbs(context, figure);
  figure.points.forEach((point, index) => drawKeypoint(context, figure, point, index));
  context.globalAlpha = 1;
}

function drawLimbs(context, figure) {
  const limbs = LIMBS.filter(([a, b]) => figure.points[a].isVisible && figure.points[b].isVisible);
  for (const isEdge of [true, false]) {
    for (const [a, b] of limbs) {
      context.strokeStyle = isEdge ? EDGE : COLOURS[sideOfLimb([a, b])];
      context.lineWidth = isEdge ? figure.limb * 1.25 + 1.5 : figure.limb;
      context.beginPath();
      context.moveTo(figure.points[a].x, figure.points[a].y);
      context.lineTo(figure.points[b].x, figure.points[b].y);
      context.stroke();
    }
  }
}

function drawKeypoint(context, figure, point, index) {
  if (!point.isVisible) return;
  const radius = 1.25 * figure.limb + 0.5;
  context.beginPath();
  context.arc(point.x, point.y, radius, 0, 2 * Math.PI);
  context.lineWidth = figure.limb * 0.5 + 1.5;
  context.strokeStyle = EDGE;
  context.stroke();
  context.fillStyle = COLOURS[sideOf(index)];
  context.fill();
}

function drawLabel(context, figure, look) {
  const text = `${figure.number} · ${figure.score.toFixed(2)}`;
  const [height, pad] = [18 * look.pixelRatio, 6 * look.pixelRatio];
  context.font = `600 ${12 * look.pixelRatio}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 2 * pad;
  const { canvas } = context;
  const left = Math.min(Math.max(figure.box[0], 0), Math.max(0, canvas.width - width));
  const top = Math.min(Math.max(figure.box[1] - height, 0), canvas.height - height);
  context.globalAlpha = figure.faded ? 0.3 : 1;
  context.fillStyle = EDGE;
  context.fillRect(left, top, width, height);
  context.fillStyle = COLOURS.middle;
  context.textBaseline = "middle";
  context.fillText(text, left + pad, top + height / 2);
  context.globalAlpha = 1;
}
