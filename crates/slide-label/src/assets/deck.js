// Which slide is shown: the slides behind (rated or skipped, in order), and those ahead, whose pictures are loaded already.

import { api, picture } from "./api.js";

const AHEAD = 5;
/** So many slides behind are remembered for work without the server. */
const REMEMBERED = 20;
const MAX_PICTURES = 40;

export class Deck {
  constructor(changed, outbox) {
    this.changed = changed;
    this.outbox = outbox;
    this.records = new Map(); // slide id → what is known of it
    this.pictures = new Map(); // slide id → promise of a picture's address
    this.behind = [];
    this.ahead = [];
    this.skipped = [];
    this.place = 0; // index into behind; behind.length is the first slide ahead
    this.progress = null;
    this.isRestored = false; // from this browser's memory, not from the server
  }

  async load() {
    const { slides } = await api("GET", "/mine");
    const shown = this.isRestored ? this.current : undefined;
    this.behind = slides.map((slide) => slide.slide_id);
    this.skipped = slides.filter((slide) => slide.kind === "skipped").map((slide) => slide.slide_id);
    this.place = this.behind.length;
    this.noteUnsent();
    await this.refill();
    this.isRestored = false;
    if (shown !== undefined && !this.visit(shown) && this.ahead.includes(shown)) {
      this.ahead = [shown, ...this.ahead.filter((id) => id !== shown)];
    }
  }

  /** What this browser has not sent yet is done all the same. */
  noteUnsent() {
    for (const [, event] of this.outbox.pending()) {
      if (!["rated", "changed", "skipped"].includes(event.kind) || this.behind.includes(event.slide_id)) continue;
      this.ahead = this.ahead.filter((id) => id !== event.slide_id);
      this.behind.push(event.slide_id);
    }
    this.place = this.behind.length;
  }

  /** Asks for more slides; those loaded already stay assigned to this person. */
  async refill() {
    if (this.refilling) return this.refilling;
    const ask = async () => {
      const { slides, progress } = await api("POST", "/queue", { assigned: this.ahead, count: AHEAD });
      for (const slide of slides) {
        if (!this.records.has(slide.slide_id)) this.records.set(slide.slide_id, slide);
        if (!this.ahead.includes(slide.slide_id) && !this.behind.includes(slide.slide_id)) this.ahead.push(slide.slide_id);
      }
      this.setProgress(progress);
      for (const id of this.ahead.slice(0, AHEAD)) this.picture(id).catch(() => {});
    };
    this.refilling = ask().finally(() => { this.refilling = null; });
    return this.refilling;
  }

  setProgress(progress) {
    this.progress = progress;
    this.changed();
  }

  get current() {
    return this.place < this.behind.length ? this.behind[this.place] : this.ahead[0];
  }

  /** The slide's picture; one that could not be loaded is asked for again. */
  picture(id) {
    if (!this.pictures.has(id)) {
      const loading = picture(id);
      loading.catch(() => this.pictures.delete(id));
      this.pictures.set(id, loading);
      this.forgetOld();
    }
    return this.pictures.get(id);
  }

  forgetOld() {
    const excess = this.pictures.size - MAX_PICTURES;
    for (const id of [...this.pictures.keys()].slice(0, Math.max(0, excess))) {
      if (this.ahead.includes(id) || id === this.current) continue;
      this.pictures.get(id).then(URL.revokeObjectURL, () => {});
      this.pictures.delete(id);
    }
  }

  async record(id) {
    if (!this.records.has(id)) this.records.set(id, await api("GET", `/slides/${encodeURIComponent(id)}`));
    return this.records.get(id);
  }

  /** Takes an event of this page for granted; an undo `restores` what counted before. */
  note(event, restores) {
    const record = this.records.get(event.slide_id);
    if (!record) return;
    const { id, kind, scores = {}, notes = "" } = event;
    record.mine = kind === "undone" ? { ...restores, head: id } : { head: id, event: id, kind, scores, notes };
    this.skipped = this.skipped.filter((other) => other !== event.slide_id);
    if (kind === "skipped") this.skipped.push(event.slide_id);
  }

  /** The slide shown is done: it goes behind, and the next one comes. */
  advance() {
    if (this.place >= this.behind.length && this.ahead.length > 0) this.behind.push(this.ahead.shift());
    this.place = Math.min(this.place + 1, this.behind.length);
    this.changed();
    if (this.ahead.length < AHEAD - 1) this.refill().then(this.changed, () => {});
  }

  back() {
    if (this.place === 0) return false;
    this.place -= 1;
    return true;
  }

  /** Goes to a slide behind. */
  visit(id) {
    const place = this.behind.lastIndexOf(id);
    if (place >= 0) this.place = place;
    return place >= 0;
  }

  /** What is needed to go on without the server. */
  snapshot() {
    const behind = this.behind.slice(-REMEMBERED);
    const records = [...behind, ...this.ahead].map((id) => this.records.get(id)).filter((record) => record);
    return { behind, ahead: this.ahead, skipped: this.skipped, records, progress: this.progress };
  }

  restore({ behind, ahead, skipped, records, progress }) {
    Object.assign(this, { behind, ahead, skipped, progress, place: behind.length, isRestored: true });
    for (const record of records) this.records.set(record.slide_id, record);
    this.noteUnsent();
  }
}
