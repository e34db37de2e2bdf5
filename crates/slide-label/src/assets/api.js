// Talks to the server. A failure has a status (0: the server was not reached), a code and a sentence for people.

import { BASE } from "./dom.js";

export class Failure extends Error {
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }

  /** Whether trying again later may help. */
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const TIMEOUT_MS = 15000;

export async function api(method, path, body) {
  let response;
  try {
    response = await fetch(new URL(`api${path}`, BASE), {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Failure(0, "offline", "the server cannot be reached");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Failure(response.status, answer?.error ?? "failed", answer?.message ?? response.statusText, answer);
  }
  if (answer === null) throw new Failure(0, "offline", "the answer was cut off");
  return answer;
}

export const pictureAddress = (slideId) => new URL(`api/slides/${encodeURIComponent(slideId)}/image`, BASE).href;

export async function picture(slideId) {
  const response = await fetch(pictureAddress(slideId), { signal: AbortSignal.timeout(60000) });
  if (!response.ok) throw new Failure(response.status, "no_picture", "the picture of this slide cannot be read");
  return URL.createObjectURL(await response.blob());
}
