// Which slide is shown: the slides behind (rated or skipped, in order), and those ahead, whose pictures are loaded already.

import { api, Failure, picture } from "./api.js";

const AHEAD = 5;
/** So many slides behind are remembered for work without the server. */
const REMEMBERED = 20;
const MAX_PICTURES = 40;
/** A request for more that failed is made again after this long, and after twice as long each time. */
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 8000;

export class Deck {
  /**
   * Handlers: changed(), arrived() once there is a slide where none was, withdrawn() where others have rated the slide on screen
   * meanwhile, isBegun(id) → whether the person has begun to rate a slide.
   */
  constructor(annotator, outbox, tabs, handlers) {
    Object.assign(this, { annotator, outbox, tabs, handlers });
    this.records = new Map(); // slide id → what is known of it
    this.pictures = new Map(); // slide id → promise of a picture's address
    this.behind = [];
    this.ahead = [];
    this.skipped = [];
    this.round = null; // on a round through skipped slides: those that are still to come
    this.place = 0; // index into behind; behind.length is the first slide ahead
    this.progress = null;
    this.isRestored = false; // from this browser's memory, not from the server
    this.isExhausted = false; // the server has said that nothing waits for this person
    this.triedAt = 0;
    this.wait = FIRST_WAIT_MS;
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

  /** Asks for more slides; those loaded already stay assigned to this person, unless others have rated them. */
  async refill() {
    if (this.refilling) return this.refilling;
    this.refilling = this.ask().finally(() => { this.refilling = null; });
    return this.refilling;
  }

  async ask() {
    this.triedAt = Date.now();
    // What is done here and on its way, the server may not know yet; what was taken back is shown where it lies.
    const onItsWay = this.outbox.pending().map(([, event]) => event.slide_id);
    const done = [...new Set([...onItsWay, ...this.behind.slice(-REMEMBERED), ...this.openBehind(), ...this.tabs.heldElsewhere()])];
    const { person, slides, progress } = await api("POST", "/queue", { assigned: this.ahead, done, count: AHEAD });
    if (person !== this.annotator) throw new Failure(403, "other_person", `${person} is signed in in this browser now`);
    this.wait = FIRST_WAIT_MS;
    for (const slide of slides) {
      if (!this.records.has(slide.slide_id)) this.records.set(slide.slide_id, slide);
    }
    const [shown, wasExhausted] = [this.current, this.isExhausted];
    const isAhead = this.place >= this.behind.length;
    const given = slides.map((slide) => slide.slide_id).filter((id) => !this.behind.includes(id));
    const isWithdrawn = isAhead && shown !== undefined && !given.includes(shown);
    const keepsShown = isWithdrawn && this.handlers.isBegun(shown);
    this.ahead = keepsShown ? [shown, ...given] : given;
    this.isExhausted = this.ahead.length === 0;
    this.tabs.hold(this.ahead);
    this.setProgress(progress);
    for (const id of this.ahead.slice(0, AHEAD)) this.picture(id).catch(() => {});
    if (isWithdrawn && !keepsShown) this.handlers.withdrawn();
    else if (shown === undefined && (this.ahead.length > 0 || !wasExhausted)) this.handlers.arrived();
  }

  /** Asks for more until it has worked, however often the network fails. */
  keepFilled() {
    clearTimeout(this.timer);
    if (this.isExhausted || this.ahead.length >= AHEAD - 1) return;
    this.refill().then(() => this.handlers.changed(), (failure) => {
      if (!failure.isTemporary) {
        this.handlers.failed(failure);
        return;
      }
      this.timer = setTimeout(() => this.keepFilled(), this.wait);
      this.wait = Math.min(this.wait * 2, MAX_WAIT_MS);
    });
  }

  setProgress(progress) {
    this.progress = progress;
    this.handlers.changed();
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

  /** Another tab of this person has done a slide: it is not ahead any more. Says whether it was the one on screen. */
  doneElsewhere(event) {
    const wasShown = this.current === event.slide_id;
    if (event.kind === "undone") this.records.delete(event.slide_id);
    else this.note(event);
    if (this.ahead.includes(event.slide_id)) {
      this.ahead = this.ahead.filter((id) => id !== event.slide_id);
      if (this.place >= this.behind.length) this.place += 1;
      this.behind.push(event.slide_id);
      this.tabs.hold(this.ahead);
    }
    this.keepFilled();
    return wasShown;
  }

  /** The slide shown is done: it goes behind, and the next one comes, of a round through skipped slides the next of these. */
  advance() {
    if (this.place >= this.behind.length && this.ahead.length > 0) {
      this.behind.push(this.ahead.shift());
      this.tabs.hold(this.ahead);
    }
    this.place = this.round === null ? Math.min(this.place + 1, this.behind.length) : this.nextOfRound();
    this.handlers.changed();
    this.keepFilled();
  }

  /** The place of the next slide of the round that is still skipped; after the last, what is ahead. */
  nextOfRound() {
    const at = this.round.findIndex((id) => this.skipped.includes(id) && this.behind.includes(id));
    if (at < 0) {
      this.round = null;
      return this.behind.length;
    }
    const place = this.behind.lastIndexOf(this.round[at]);
    this.round = this.round.slice(at + 1);
    return place;
  }

  back() {
    this.round = null;
    if (this.place === 0) return false;
    this.place -= 1;
    return true;
  }

  /** Goes on without changing anything, as far as slides were seen. */
  forward() {
    this.round = null;
    if (this.place >= this.behind.length) return false;
    this.place += 1;
    return true;
  }

  /** Goes to a slide behind. */
  visit(id) {
    const place = this.behind.lastIndexOf(id);
    if (place >= 0) this.place = place;
    return place >= 0;
  }

  /** Goes through the skipped slides once. */
  visitSkipped() {
    this.round = [...this.skipped];
    this.place = this.nextOfRound();
    return this.place < this.behind.length;
  }

  /** Slides behind whose rating or skip was taken back: nothing is said of them now. */
  openBehind() {
    return this.behind.filter((id) => this.records.has(id) && !["rated", "changed", "skipped"].includes(this.records.get(id).mine?.kind));
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
    this.tabs.hold(this.ahead);
  }
}
