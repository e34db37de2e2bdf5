// Ratings on their way. Each is kept under a key of its own in the browser's storage until the server has it on disk, so neither a
// reload nor a second tab can lose one; each carries an id, so sending it twice counts once.

import { api, Failure } from "./api.js";
import { storage } from "./dom.js";

const PREFIX = "pq:unsent:";
const MAX_WAIT_MS = 15000;

export class Outbox {
  /** Handlers: changed(), saved(event, answer), conflict(event, current), refused(event, message), signIn() → whether it worked. */
  constructor(annotator, handlers) {
    this.annotator = annotator;
    this.handlers = handlers;
    this.memory = new Map(); // where the browser stores nothing
    this.counter = 0;
    this.wait = 500;
    this.isOffline = false;
    window.addEventListener("online", () => this.flush());
  }

  /** The unsent events of this person, oldest first. What another person left in this browser waits for them. */
  pending() {
    const stored = storage.keys(PREFIX).map((key) => [key, parse(storage.get(key))]);
    return [...stored, ...this.memory]
      .filter(([, event]) => event?.annotator === this.annotator)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }

  add(event) {
    this.counter += 1;
    const key = `${PREFIX}${String(Date.now()).padStart(14, "0")}:${String(this.counter).padStart(6, "0")}:${event.id}`;
    if (!storage.set(key, JSON.stringify(event))) this.memory.set(key, event);
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
        this.wait = 500;
        this.isOffline = false;
        this.remove(key);
        this.handlers.saved(event, answer);
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        if (!(await this.handle(failure, key, event))) return;
      }
    }
  }

  /** Whether sending can go on. */
  async handle(failure, key, event) {
    if (failure.isTemporary) {
      this.retry();
      return false;
    }
    if (failure.status === 401) {
      if (await this.handlers.signIn()) return true;
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
    this.timer = setTimeout(() => this.flush(), this.wait);
    this.wait = Math.min(this.wait * 2, MAX_WAIT_MS);
  }
}

function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}
