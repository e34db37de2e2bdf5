// The picture: zoom by wheel, buttons, pinch and `z`; pan by dragging.

import { $ } from "./dom.js";

const MAX_SCALE = 8;

export class Viewer {
  constructor() {
    this.box = $("viewport");
    this.image = $("picture");
    this.pointers = new Map();
    this.fit();
    this.box.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event);
    }, { passive: false });
    this.box.addEventListener("dblclick", (event) => this.toggle(event));
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.box.addEventListener(kind, (event) => this.pointer(kind, event));
    }
    $("zoom-in").addEventListener("click", () => this.zoom(1.5));
    $("zoom-out").addEventListener("click", () => this.zoom(1 / 1.5));
    $("zoom-fit").addEventListener("click", () => this.toggle());
  }

  fit() {
    [this.scale, this.x, this.y] = [1, 0, 0];
    this.draw();
  }

  toggle(at) {
    if (this.scale > 1) this.fit();
    else this.zoom(2.5, at);
  }

  /** Zooms so that the point under the pointer (or the middle) stays where it is. */
  zoom(factor, at) {
    const box = this.box.getBoundingClientRect();
    const x = at ? at.clientX - box.left - box.width / 2 : 0;
    const y = at ? at.clientY - box.top - box.height / 2 : 0;
    const scale = Math.max(1, Math.min(MAX_SCALE, this.scale * factor));
    const ratio = scale / this.scale;
    this.x = x - (x - this.x) * ratio;
    this.y = y - (y - this.y) * ratio;
    this.scale = scale;
    this.draw();
  }

  pointer(kind, event) {
    if (kind === "pointerdown") {
      this.pointers.set(event.pointerId, event);
      if (this.scale > 1) this.box.setPointerCapture(event.pointerId);
      return;
    }
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (kind !== "pointermove") {
      this.pointers.delete(event.pointerId);
      return;
    }
    const others = [...this.pointers.values()].filter((other) => other.pointerId !== event.pointerId);
    if (others.length === 1) {
      const apart = (a) => Math.hypot(a.clientX - others[0].clientX, a.clientY - others[0].clientY);
      this.zoom(apart(event) / Math.max(1, apart(before)), event);
    } else if (this.scale > 1) {
      this.x += event.clientX - before.clientX;
      this.y += event.clientY - before.clientY;
      this.draw();
    }
    this.pointers.set(event.pointerId, event);
  }

  draw() {
    const reach = (this.scale - 1) / 2;
    const clamp = (value, size) => Math.max(-size * reach, Math.min(size * reach, value));
    this.x = clamp(this.x, this.box.clientWidth);
    this.y = clamp(this.y, this.box.clientHeight);
    this.image.style.setProperty("transform", `translate(${this.x}px, ${this.y}px) scale(${this.scale})`);
    this.box.classList.toggle("zoomed", this.scale > 1);
  }
}
