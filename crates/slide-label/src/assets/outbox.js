// Ratings on their way. Each is kept under a key of its own in the browser's storage until the server has it on disk, so neither a
// reload nor a second tab can lose one; each carries an id, so sending it twice counts once.

import { api, Failure } from "./api.js";
import { storage } from "./dom.js";

const UNSENT = "pq:unsent:";
const REFUSED = "pq:refused:";
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 15000;

export class Outbox {
  /**
   * Handlers: changed(), saved(event, answer), back() once the server answers again, conflict(event, current),
   * refused(event, message), signIn() → whether it worked.
   */
  constructor(annotator, handlers) {
    this.annotator = annotator;
    this.handlers = handlers;
    this.memory = new Map(); // where the browser stores nothing
    this.counter = 0;
    this.wait = FIRST_WAIT_MS;
    this.isOffline = false;
    this.trouble = ""; // why the server, though reached, does not take ratings just now
    window.addEventListener("online", () => this.flush());
    window.addEventListener("beforeunload", (event) => { if (this.memory.size > 0) event.preventDefault(); });
  }

  entries(prefix) {
    const stored = storage.keys(prefix).map((key) => [key, parse(storage.get(key))]);
    const held = [...this.memory].filter(([key]) => key.startsWith(prefix));
    return [...stored, ...held].filter(([, value]) => value).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** The unsent events of this person, oldest first. What another person left in this browser waits for them. */
  pending() {
    return this.entries(UNSENT).filter(([, event]) => event.annotator === this.annotator);
  }

  /** The events that the server did not take, with the reason: [key, { event, message }]. */
  refused() {
    return this.entries(REFUSED).filter(([, kept]) => kept.event?.annotator === this.annotator);
  }

  keepRefused(event, message) {
    this.keep(`${REFUSED}${event.id}`, { event, message });
    this.handlers.changed();
  }

  keep(key, value) {
    if (!storage.set(key, JSON.stringify(value))) this.memory.set(key, value);
  }

  add(event) {
    this.counter += 1;
    const place = `${String(Date.now()).padStart(14, "0")}:${String(this.counter).padStart(6, "0")}`;
    this.keep(`${UNSENT}${place}:${event.id}`, event);
    this.handlers.changed();
    this.flush();
  }

  remove(key) {
    storage.remove(key);
    this.memory.delete(key);
    this.handlers.changed();
  }

  /** Sends everything, oldest first; one tab at a time where the browser can say so (and where not, ids make it harmless). */
  flush() {
    clearTimeout(this.timer);
    if (this.running) {
      this.again = true;
      return this.running;
    }
    const locked = navigator.locks ? navigator.locks.request("pq-outbox", () => this.send()) : this.send();
    this.running = locked.catch(() => this.retry()).finally(() => {
      this.running = null;
      if (this.again) {
        this.again = false;
        this.flush();
      }
    });
    return this.running;
  }

  async send() {
    for (let next = this.pending()[0]; next; next = this.pending()[0]) {
      const [key, event] = next;
      try {
        const answer = await api("POST", "/events", event);
        this.reached();
        this.remove(key);
        this.handlers.saved(event, answer);
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        if (!(await this.handle(failure, key, event))) return;
      }
    }
    if (!this.isOffline) return;
    try {
      await api("GET", "/session");
      this.reached();
      this.handlers.changed();
    } catch {
      this.retry();
    }
  }

  /** The server answers. */
  reached() {
    this.wait = FIRST_WAIT_MS;
    this.trouble = "";
    if (!this.isOffline) return;
    this.isOffline = false;
    setTimeout(() => this.handlers.back());
  }

  /** Whether sending can go on. */
  async handle(failure, key, event) {
    if (failure.isTemporary) {
      this.trouble = failure.status === 0 ? "" : failure.message;
      this.retry();
      return false;
    }
    if (failure.status === 401) return this.handlers.signIn();
    if (failure.code === "other_person") { // it waits until its person signs in again
      this.trouble = failure.message;
      this.retry();
      return false;
    }
    this.remove(key);
    if (failure.code === "conflict") this.handlers.conflict(event, failure.body.current);
    else this.handlers.refused(event, failure.message);
    return true;
  }

  retry() {
    this.isOffline = true;
    this.handlers.changed();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), this.wait);
    this.wait = Math.min(this.wait * 2, MAX_WAIT_MS);
  }
}

function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}
