// Several tabs of one person share one queue: each says which slides it holds, so that no other asks for them, and what it has done,
// so that no other shows it.

import { newId, storage } from "./dom.js";

const HELD = "pq:held:";
/** A tab that was closed without a word (a crash) holds nothing after this long. Hidden tabs may run once a minute only. */
const FORGET_MS = 5 * 60 * 1000;
const RENEW_MS = 60 * 1000;

export class Tabs {
  /** `done(event, head)` is called with what another tab of this person had saved. */
  constructor(annotator, done) {
    this.annotator = annotator;
    this.key = `${HELD}${newId()}`;
    this.slides = [];
    this.channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("pq-tabs");
    this.channel?.addEventListener("message", ({ data }) => {
      if (data?.event?.annotator === this.annotator) done(data.event, data.head);
    });
    window.addEventListener("pagehide", () => storage.remove(this.key));
    window.addEventListener("pageshow", () => this.hold(this.slides));
    setInterval(() => this.hold(this.slides), RENEW_MS);
  }

  /** Says which slides this tab holds. */
  hold(slides) {
    this.slides = [...slides];
    storage.set(this.key, JSON.stringify({ annotator: this.annotator, slides: this.slides, at: Date.now() }));
  }

  /** The slides that other tabs of this person hold. */
  heldElsewhere() {
    const held = [];
    for (const key of storage.keys(HELD)) {
      if (key === this.key) continue;
      let claim = null;
      try { claim = JSON.parse(storage.get(key)); } catch { /* not ours to read */ }
      if (!claim || Date.now() - claim.at > FORGET_MS) storage.remove(key);
      else if (claim.annotator === this.annotator) held.push(...claim.slides);
    }
    return held;
  }

  /** Tells the others what was saved. */
  tell(event, head) {
    this.channel?.postMessage({ event, head });
  }
}
