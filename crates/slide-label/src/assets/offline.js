// Without the server: the page itself comes from the service worker, and this is what it remembers of the work.

import { BASE, storage } from "./dom.js";

const KEY = "pq:work";

/** Browsers have service workers on encrypted connections and on this machine; elsewhere the page needs the server to load. */
export function setUpOffline() {
  const workers = navigator.serviceWorker;
  workers?.addEventListener("controllerchange", () => { passOnPictures(); setTimeout(passOnPictures, 3000); });
  workers?.register(new URL("sw.js", BASE)).catch(() => { /* the page works without */ });
}

/** Pictures that were asked for before the service worker took over go through it once more, so that it keeps them. */
function passOnPictures() {
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const pictures = new Set(loaded.filter((name) => /\/api\/slides\/[^/]+\/image$/.test(new URL(name).pathname)));
  for (const picture of pictures) fetch(picture).catch(() => { /* the page has them all the same */ });
}

export function remember(session, deck) {
  if (session?.person && deck) storage.set(KEY, JSON.stringify({ session, deck: deck.snapshot() }));
}

export function recall() {
  try { return JSON.parse(storage.get(KEY)); } catch { return null; }
}

/** What is left of a person's work in this browser goes when they sign out; unsent ratings stay, and so does the page itself. */
export async function forget() {
  storage.remove(KEY);
  try {
    await caches.delete("pq-pictures");
  } catch { /* no caches here */ }
}
