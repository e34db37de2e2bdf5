// The service worker: with the server away, the page still loads, with the pictures it had. Ratings never pass through here.

const SHELL = "pq-shell";
const PICTURES = "pq-pictures";
const MAX_PICTURES = 40;
const PATIENCE_MS = 4000;
const NAMES = ["./", "assets/style.css", "assets/rate.css", "assets/icon.svg", "assets/app.js", "assets/api.js", "assets/deck.js",
  "assets/dom.js", "assets/form.js", "assets/help.js", "assets/keys.js", "assets/offline.js", "assets/outbox.js", "assets/page.js",
  "assets/rater.js", "assets/tabs.js", "assets/trouble.js", "assets/viewer.js"];
// Behind a proxy the page need not be the root of its host.
const FILES = NAMES.map((name) => new URL(name, self.location).pathname);
const SLIDES = new URL("api/slides/", self.location).pathname;

self.addEventListener("install", (event) => {
  const fill = async () => {
    await (await caches.open(SHELL)).addAll(FILES);
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  const isPicture = pathname.startsWith(SLIDES) && /^[^/]+\/image$/.test(pathname.slice(SLIDES.length));
  if (FILES.includes(pathname)) event.respondWith(freshOrKept(request, pathname, SHELL));
  else if (isPicture) event.respondWith(freshOrKept(request, pathname, PICTURES));
});

/** What the server says, or, where it says nothing in time, what it said before. */
async function freshOrKept(request, key, name) {
  const cache = await caches.open(name);
  try {
    const kept = await cache.match(key);
    // With nothing kept, a slow connection is better than none.
    const response = await fetch(request.url, kept ? { signal: AbortSignal.timeout(PATIENCE_MS) } : {});
    if (response.ok) await keep(cache, key, response.clone(), name);
    return response;
  } catch (failure) {
    const kept = await cache.match(key);
    if (kept) return kept;
    throw failure;
  }
}

async function keep(cache, key, response, name) {
  try {
    await cache.put(key, response);
    if (name !== PICTURES) return;
    const keys = await cache.keys();
    for (const old of keys.slice(0, Math.max(0, keys.length - MAX_PICTURES))) await cache.delete(old);
  } catch { /* the browser's store is full: the page works without it */ }
}
