// Calls to the service, and its failures as messages for people.

/**
 * A failure: a title and a detail to display, and the remedy: a retry (`mayPass`), after a time set
 * by the service (`waitSeconds`), or an API key (`wantsKey`).
 */
export class Failure extends Error {
  constructor(title, detail, helps = {}) {
    super(detail);
    const none = { mayPass: false, waitSeconds: null, wantsKey: false, requestId: null };
    Object.assign(this, { title, detail, ...none, ...helps });
  }
}

/** The media type to send a file with; the service itself detects the format from the bytes. */
export function mediaType(blob) {
  const accepted = document.getElementById("files").accept.split(",");
  return accepted.includes(blob.type) ? blob.type : "application/octet-stream";
}

/** The URL to which a picture is posted. */
export function poseUrl(options) {
  return new URL(`v1/pose?${new URLSearchParams(options)}`, document.baseURI).href;
}

/**
 * Returns the service's answer for one picture, with the round-trip time in milliseconds.
 * Throws a Failure, or the signal's AbortError.
 */
export async function estimate(blob, { minBoxScore, minKeypointScore, key, signal }) {
  const began = performance.now();
  const headers = { "content-type": mediaType(blob), ...keyHeader(key) };
  const url = poseUrl({ min_box_score: minBoxScore, min_keypoint_score: minKeypointScore });
  const answer = await call(url, { method: "POST", body: blob, headers, signal });
  return { ...answer.images[0], timing: answer.timing_ms, roundTrip: performance.now() - began };
}

/** The model that answers, as `v1/models` describes it. Throws a Failure. */
export async function model(key) {
  const answer = await call(new URL("v1/models", document.baseURI), { headers: keyHeader(key) });
  return answer.models[0];
}

function keyHeader(key) {
  if (!key) return {};
  if (/[^\x21-\x7e]/.test(key)) {
    throw new Failure("Not a valid key", "A key consists of printable ASCII characters.", {
      wantsKey: true,
    });
  }
  return { "x-api-key": key };
}

async function call(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, cache: "no-store", credentials: "same-origin" });
    if (response.ok) return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(
      "The service cannot be reached",
      "It may have stopped, or the connection to it failed.",
      { mayPass: true },
    );
  }
  const failure = failureOf(response, await problemOf(response));
  if (failure.wantsKey && !options.headers["x-api-key"]) {
    failure.detail = "Enter it in the “API key” field.";
  }
  throw failure;
}

/** The problem document, or an empty one if a proxy has answered instead of the service. */
async function problemOf(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("application/problem+json")) return {};
  return response.json().catch(() => ({}));
}

function failureOf(response, problem) {
  const detail = problem.detail ? sentence(problem.detail) : `The server answered with HTTP ${response.status}.`;
  const wait = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new Failure(title(response.status, problem), detail, {
    mayPass: response.status === 429 || response.status >= 500,
    waitSeconds: Number.isNaN(wait) ? null : wait,
    wantsKey: response.status === 401,
    requestId: problem.request_id ?? null,
  });
}

function title(status, problem) {
  const known = {
    401: "This service requires an API key",
    413: "The picture is too large",
    415: "This file type is not supported",
    429: "The service is busy",
    503: "The service is not ready",
    504: "The answer took too long",
  };
  return known[status] ?? problem.title ?? "The service could not answer";
}

/** Turns a detail such as "truncated JPEG" into a sentence. */
function sentence(text) {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return /^[a-z]+[ ,]/.test(ended) ? ended[0].toUpperCase() + ended.slice(1) : ended;
}
