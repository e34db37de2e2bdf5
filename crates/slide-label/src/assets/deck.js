// Which slide is shown: the slides behind (rated or skipped, in order), and those ahead, whose pictures are loaded already.

import { api, picture } from "./api.js";

const AHEAD = 5;

export class Deck {
  constructor(changed) {
    this.changed = changed;
    this.records = new Map(); // slide id → what is known of it
    this.pictures = new Map(); // slide id → promise of a picture's address
    this.behind = [];
    this.ahead = [];
    this.place = 0; // index into behind; behind.length is the first slide ahead
    this.progress = null;
  }

  async load() {
    const { slides } = await api("GET", "/mine");
    this.behind = slides.map((slide) => slide.slide_id);
    this.skipped = slides.filter((slide) => slide.kind === "skipped").map((slide) => slide.slide_id);
    this.place = this.behind.length;
    await this.refill();
  }

  /** Asks for more slides; those loaded already are kept for this person. */
  async refill() {
    if (this.refilling) return this.refilling;
    const ask = async () => {
      const { slides, progress } = await api("POST", "/queue", { held: this.ahead, count: AHEAD });
      this.setProgress(progress);
      for (const slide of slides) {
        if (!this.records.has(slide.slide_id)) this.records.set(slide.slide_id, slide);
        if (!this.ahead.includes(slide.slide_id) && !this.behind.includes(slide.slide_id)) this.ahead.push(slide.slide_id);
      }
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
    const excess = this.pictures.size - 40;
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

  /** The slide shown is done: it goes behind, and the next one comes. */
  advance() {
    if (this.place >= this.behind.length && this.ahead.length > 0) this.behind.push(this.ahead.shift());
    this.place = Math.min(this.place + 1, this.behind.length);
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
}
