// The service as this page calls it, and its failures in words for people.

/**
 * What went wrong: a title and a detail to read, and what helps: another try (`mayPass`), at a time
 * that the service says (`waitSeconds`), or a key (`wantsKey`).
 */
export class Failure extends Error {
  constructor(title, detail, helps = {}) {
    super(detail);
    const none = { mayPass: false, waitSeconds: null, wantsKey: false, requestId: null };
    Object.assign(this, { title, detail, ...none, ...helps });
  }
}

/** The media type that a file is sent with; the service itself goes by the bytes. */
export function mediaType(blob) {
  const accepted = document.getElementById("files").accept.split(",");
  return accepted.includes(blob.type) ? blob.type : "application/octet-stream";
}

/** The address that a picture is posted to. */
export function poseUrl(options) {
  return new URL(`v1/pose?${new URLSearchParams(options)}`, document.baseURI).href;
}

/**
 * What the service answers to one picture, and the milliseconds until it was here.
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
    throw new Failure("This is no key", "A key has plain letters, digits and signs only.", {
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
      "Either it has stopped, or something is wrong with the connection to it.",
      { mayPass: true },
    );
  }
  const failure = failureOf(response, await problemOf(response));
  if (failure.wantsKey && !options.headers["x-api-key"]) {
    failure.detail = "Write it into the field “API key”.";
  }
  throw failure;
}

/** The problem document, or an empty one where somebody else has answered. */
async function problemOf(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("application/problem+json")) return {};
  return response.json().catch(() => ({}));
}

function failureOf(response, problem) {
  const detail = problem.detail ? sentence(problem.detail) : `The answer was HTTP ${response.status}.`;
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
    401: "This service asks for an API key",
    413: "This is too large",
    415: "This kind of file is not taken",
    429: "The service is busy",
    503: "The service is not ready",
    504: "The answer took too long",
  };
  return known[status] ?? problem.title ?? "The service could not answer";
}

/** A detail such as "truncated JPEG" as a sentence. */
function sentence(text) {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return /^[a-z]+[ ,]/.test(ended) ? ended[0].toUpperCase() + ended.slice(1) : ended;
}
