"use strict";
// The timeline as a map: each view is an address, which the server draws; this exchanges <main> for it.
(() => {
  const CLICK = 4, SETTLED = 180, STEPS = 100;
  let asking = null, timer = null, drag = null, pinch = null, dragged = false;

  const here = () => document.getElementById("timeline");
  const plot = () => document.getElementById("plot");
  const text = (ms) => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");

  const view = () => {
    const { begin, end, now } = here().dataset;
    return { begin: Number(begin), end: Number(end), now: Number(now) };
  };

  const go = async (address, kept = false) => {
    asking?.abort();
    asking = new AbortController();
    const focused = document.activeElement?.id;
    try {
      const answer = await fetch(address, { signal: asking.signal, headers: { accept: "text/html" } });
      const found = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = found.querySelector("main");
      if (!answer.ok || !main) return location.assign(address);
      document.querySelector("main").replaceWith(document.adoptNode(main));
      document.title = found.title;
      history[kept ? "replaceState" : "pushState"](null, "", address);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    } catch (error) {
      if (error.name !== "AbortError") location.assign(address);
    }
  };

  const changed = (changes) => {
    const address = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) {
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    return address.href;
  };

  const show = (begin, end, kept) => {
    const { now } = view(), late = Math.max(0, end - now);
    const until = end >= now - 1000 ? { from: "", to: "", span: `${Math.max(10, Math.round((end - begin) / 1000))}s` } : null;
    return go(changed(until ?? { from: text(begin - late), to: text(end - late), span: "" }), kept);
  };

  const ask = (ms, kept) => go(changed({ at: text(ms) }), kept);
  const share = (event) => {
    const box = plot().getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  const moment = (event) => {
    const { begin, end } = view();
    return begin + share(event) * (end - begin);
  };

  // What the server will draw, until it has: the picture moved, or drawn out.
  const preview = (moved, factor = 1) => {
    if (!plot()) return;
    plot().classList.add("moving");
    for (const part of plot().querySelectorAll(".sheet, .cursor, .pill")) {
      part.style.transform = `translateX(${moved}px) scaleX(${factor})`;
    }
  };

  let zoom = null;
  const zoomed = (event, factor) => {
    const { begin, end } = view(), box = plot().getBoundingClientRect();
    zoom ??= { begin, end };
    const centre = zoom.begin + share(event) * (zoom.end - zoom.begin);
    const most = 3660 * 86400e3, length = Math.min(Math.max((zoom.end - zoom.begin) * factor, 10e3), most);
    zoom.begin = centre - share(event) * length;
    zoom.end = zoom.begin + length;
    const scale = (end - begin) / length;
    preview((-(zoom.begin - begin) / (end - begin)) * box.width * scale, scale);
    clearTimeout(timer);
    timer = setTimeout(() => { const { begin: b, end: e } = zoom; zoom = null; show(b, e, true); }, SETTLED);
  };

  addEventListener("wheel", (event) => {
    if (!plot()?.contains(event.target)) return;
    const along = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoomed(event, Math.exp(Math.max(-1, Math.min(1, event.deltaY / 200))));
    } else if (Math.abs(along) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      event.preventDefault();
      const { begin, end } = view(), box = plot().getBoundingClientRect();
      zoom ??= { begin, end };
      const moved = (along / box.width) * (end - begin);
      zoom.begin += moved;
      zoom.end += moved;
      preview(-((zoom.begin - begin) / (end - begin)) * box.width);
      clearTimeout(timer);
      timer = setTimeout(() => { const { begin: b, end: e } = zoom; zoom = null; show(b, e, true); }, SETTLED);
    }
  }, { passive: false });

  // Which moment the pointer is at.
  const hover = (event) => {
    let hint = document.getElementById("hint");
    if (!plot()?.contains(event.target) || event.pointerType !== "mouse") return hint?.remove();
    if (!hint) {
      hint = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      hint.id = "hint";
      hint.setAttribute("aria-hidden", "true");
      hint.innerHTML = '<line y1="22" y2="100%" /><rect x="-34" y="4" width="68" height="18" rx="4" /><text y="17" />';
      plot().append(hint);
    }
    hint.setAttribute("x", `${share(event) * 100}%`);
    hint.querySelector("text").textContent = clock(moment(event));
  };
  const clock = (ms) => {
    const form = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    try {
      return new Intl.DateTimeFormat("en-GB", { ...form, timeZone: here().dataset.tz }).format(ms);
    } catch {
      return `${text(ms).slice(11, 16)} UTC`;
    }
  };

  addEventListener("pointerdown", (event) => {
    if (!plot()?.contains(event.target) || event.button) return;
    if (drag) {
      const { begin, end } = view();
      pinch = { other: event, from: Math.abs(event.clientX - drag.x) || 1, begin, end };
      return;
    }
    drag = { id: event.pointerId, x: event.clientX, last: event.clientX };
    dragged = false;
  });

  addEventListener("pointermove", (event) => {
    if (!drag) return hover(event);
    if (pinch) {
      if (event.pointerId === drag.id) drag.last = event.clientX;
      else pinch.last = event.clientX;
      const apart = Math.abs((pinch.last ?? pinch.other.clientX) - drag.last) || 1;
      pinch.factor = pinch.from / apart;
      preview(0, 1 / pinch.factor);
    } else if (event.pointerId === drag.id) {
      drag.last = event.clientX;
      if (!dragged && Math.abs(drag.last - drag.x) > CLICK) {
        dragged = true;
        plot().setPointerCapture(event.pointerId);
      }
      if (dragged) preview(drag.last - drag.x);
    }
  });

  const released = () => {
    if (!drag || !plot()) return (drag = pinch = null);
    const { begin, end } = view(), moved = drag.last - drag.x, wide = plot().getBoundingClientRect().width;
    if (pinch?.factor) {
      const middle = (begin + end) / 2, half = ((end - begin) * pinch.factor) / 2;
      dragged = true;
      show(middle - half, middle + half);
    } else if (dragged) {
      const by = (-moved / wide) * (end - begin);
      show(begin + by, end + by);
    }
    drag = pinch = null;
  };
  addEventListener("pointerup", released);
  addEventListener("pointercancel", () => {
    if (drag) preview(0);
    plot()?.classList.remove("moving");
    drag = pinch = null;
  });
  addEventListener("dragstart", (event) => { if (plot()?.contains(event.target)) event.preventDefault(); });

  addEventListener("click", (event) => {
    const inside = plot()?.contains(event.target);
    if (inside && dragged) {
      dragged = false;
      return event.preventDefault();
    }
    const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    const link = event.target.closest?.("a");
    if (link?.matches("[data-swap]") && plain) {
      event.preventDefault();
      go(link.href);
    } else if (inside && !link && plain) {
      ask(moment(event));
    }
  }, true);

  addEventListener("submit", (event) => {
    if (!event.target.matches?.(".timeline .ask")) return;
    event.preventDefault();
    go(`${event.target.getAttribute("action")}?${new URLSearchParams(new FormData(event.target))}`);
  });

  const press = (name) => here().querySelector(`a[data-move="${name}"]`);
  const KEYS = { ArrowLeft: "earlier", ArrowRight: "later", "+": "closer", "=": "closer", "-": "wider", Escape: "quiet" };
  addEventListener("keydown", (event) => {
    if (!here() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]") || !KEYS[event.key]) return;
    if (event.shiftKey && event.key.startsWith("Arrow")) {
      const { begin, end, now } = view();
      const at = Date.parse(here().dataset.at ?? "") || (begin + end) / 2;
      const by = Math.max((end - begin) / STEPS, 1000) * (event.key === "ArrowLeft" ? -1 : 1);
      event.preventDefault();
      ask(Math.min(at + by, now), true);
    } else if (press(KEYS[event.key])) {
      event.preventDefault();
      go(press(KEYS[event.key]).href, true);
    }
  });

  addEventListener("popstate", () => { if (here()) go(location.href, true); });
})();
